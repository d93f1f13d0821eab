"""The executed notebook: a source's cells with what one run said in them, as nbformat 4.5."""

import base64
import json
import keyword
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from .sources import Source

Dict = dict[str, Any]
SHOWN = 2000  # characters of a result as text
MOST_BYTES = 64 << 20  # of outputs that are held by reference
_DISPLAYS = ("display_data", "execute_result", "update_display_data")


class Receipt:
    """Takes a run's events in their order; `document` is the notebook.

    `prose` is the text of each markdown cell and after how many code cells it stands; `load` gives
    the bytes of an output that is held by reference, None where they are gone.
    """

    def __init__(
        self,
        source: Source,
        *,
        prose: Iterable[tuple[int, str]],
        parameters: Mapping[str, Any],
        load: Callable[[str], bytes | None],
    ) -> None:
        self._source = source
        self._prose = list(prose)
        self._parameters = parameters
        self._load = load
        self._loaded = 0
        self._cells = {
            cell.index: _code_cell(f"cell-{cell.index}", cell.text, sorted(cell.tags))
            for cell in source.cells
        }
        self._call = _code_cell("djsci-call", _call_text(source, parameters), ["djsci-call"])
        self._open: int | None = None
        self._count = 0
        self._shown: dict[str, list[Dict]] = {}
        self._to_clear: set[str] = set()

    def take(self, event: Mapping[str, Any]) -> None:
        """One event, as the log has it; its references are SHA-256s."""
        match event["type"]:
            case "status" if event["state"] == "running" and self._source.kind == "py":
                self._count = 1
                self._cells[1]["execution_count"] = 1
            case "cell":
                self._mark(event)
            case "stream":
                self._print(event, event["name"], event["text"])
            case "log":
                self._print(event, "stderr", f"[{event['level']}] {event['message']}\n")
            case "truncated":
                text = f"[djsci] {event['dropped_bytes']} bytes of output were dropped here\n"
                self._print(event, "stderr", text)
            case "clear_output":
                cell = self._cell(event)
                if event.get("wait"):
                    self._to_clear.add(cell["id"])
                else:
                    cell["outputs"].clear()
            case "error":
                names = ("ename", "evalue", "traceback")
                fields = {name: event[name] for name in names}
                # Raised in the call, it names the cell that its line is in.
                self._add({"cell": None}, {"output_type": "error", **fields})
            case kind if kind in _DISPLAYS:
                self._display(kind, event)

    def give(self, result: str) -> None:
        """The result, as JSON text: what the call of the handler shows."""
        if not self._source.has_handler:
            return
        text = result if len(result) <= SHOWN else f"{result[:SHOWN]}…"
        data = {"application/json": json.loads(result), "text/plain": text}
        output = {"output_type": "execute_result", "data": data, "metadata": {}}
        self._add({"cell": None}, output | {"execution_count": None})

    def document(self, metadata: Mapping[str, Any]) -> Dict:
        """The notebook; `metadata` is its `metadata.djsci`."""
        source = self._source
        name = source.language
        kernel = {"name": source.kernel, "display_name": source.kernel, "language": name}
        return {
            "nbformat": 4,
            "nbformat_minor": 5,
            "metadata": {
                "kernelspec": kernel,
                "language_info": {"name": name},
                "djsci": dict(metadata),
            },
            "cells": self._all_cells(),
        }

    def _all_cells(self) -> list[Dict]:
        cells = [
            (place, 0, _markdown_cell(f"text-{number}", text))
            for number, (place, text) in enumerate(self._prose, 1)
        ]
        cells += [(index - 1, 1, cell) for index, cell in self._cells.items()]
        last = len(self._cells)
        if self._parameters:
            text = parameters_text(self._parameters)
            made = _code_cell("djsci-parameters", text, ["injected-parameters"])
            tagged = [cell.index for cell in self._source.cells if "parameters" in cell.tags]
            place = last if self._source.has_handler else tagged[0] if tagged else 0
            cells.append((place, -1, made))
        if self._source.has_handler or self._call["outputs"]:
            if self._source.has_handler and self._call["outputs"]:
                self._call["execution_count"] = self._count + 1
            cells.append((last, 2, self._call))
        for _, _, cell in cells:
            for output in cell.get("outputs", ()):
                if output["output_type"] == "execute_result":
                    output["execution_count"] = cell["execution_count"]
        return [cell for _, _, cell in sorted(cells, key=lambda item: item[:2])]

    def _mark(self, event: Mapping[str, Any]) -> None:
        cell = self._cells.get(event["index"])
        if cell is None:
            return
        time = datetime.fromtimestamp(event["t"], UTC)
        text, times = time.isoformat().replace("+00:00", "Z"), cell["metadata"]
        if event["state"] == "start":
            self._open, self._count = event["index"], self._count + 1
            cell["execution_count"] = self._count
            times["execution"] = {"iopub.execute_input": text}
            times["djsci"] = {"state": "start", "began": event["t"]}
        else:
            self._open = None
            times.setdefault("execution", {})["shell.execute_reply"] = text
            began = times.pop("djsci", {}).get("began", event["t"])
            seconds = round(event["t"] - began, 3)
            times["djsci"] = {"state": event["state"], "seconds": seconds}

    def _cell(self, event: Mapping[str, Any]) -> Dict:
        """The cell that is played, else the one that the event names, else the call."""
        index = event.get("cell") or self._open
        return self._cells.get(index, self._call) if index is not None else self._call

    def _add(self, event: Mapping[str, Any], output: Dict) -> None:
        cell = self._cell(event)
        if cell["id"] in self._to_clear:
            self._to_clear.discard(cell["id"])
            cell["outputs"].clear()
        cell["outputs"].append(output)

    def _print(self, event: Mapping[str, Any], name: str, text: str) -> None:
        outputs = self._cell(event)["outputs"]
        last = outputs[-1] if outputs and not self._to_clear else {}
        if last.get("output_type") == "stream" and last["name"] == name:
            last["text"].append(text)
        else:
            self._add(event, {"output_type": "stream", "name": name, "text": [text]})

    def _display(self, kind: str, event: Mapping[str, Any]) -> None:
        data = {mime: self._part(mime, part) for mime, part in event["data"].items()}
        fields = {"data": data, "metadata": _metadata(event["metadata"])}
        shown = self._shown.setdefault(event.get("display_id") or "", [])
        if kind == "update_display_data":
            for output in shown:
                output.update(fields)
            return
        output = {"output_type": kind, **fields}
        if kind == "execute_result":
            output["execution_count"] = None
        if event.get("display_id"):
            shown.append(output)
        self._add(event, output)

    def _part(self, mime: str, part: Any) -> Any:
        is_json = mime == "application/json" or mime.endswith("+json")
        if isinstance(part, dict) and part.keys() == {"ref", "size"}:
            self._loaded += part["size"]
            if self._loaded > MOST_BYTES:
                return f"({part['size']} bytes that are too many for this notebook)"
            raw = self._load(part["ref"])
            if raw is None:
                return f"({part['size']} bytes that are not stored any more)"
            part = _inline(mime, raw, is_json=is_json)
        if is_json or isinstance(part, str):
            return part
        is_lines = isinstance(part, list) and all(isinstance(line, str) for line in part)
        return part if is_lines else json.dumps(part)


def parameters_text(parameters: Mapping[str, Any]) -> str:
    """Python that sets the parameters; those that no variable can be named after as comments."""
    lines = ["# Parameters"]
    for name, value in parameters.items():
        is_name = name.isidentifier() and not keyword.iskeyword(name)
        lines.append(f"{name} = {value!r}" if is_name else f"# {name!r}: {value!r}")
    return "\n".join(lines)


def _call_text(source: Source, parameters: Mapping[str, Any]) -> str:
    if not source.has_handler:
        return "# What the run said outside of its cells"
    named = [name for name in parameters if name in source.parameters.get("properties", {})]
    arguments = ", ".join(["djsci.request()", *(f"{name}={name}" for name in named)])
    return f"# What djsci called\nimport djsci\n\ndjsci_handler({arguments})"


def _inline(mime: str, raw: bytes, *, is_json: bool) -> Any:
    if is_json:
        return json.loads(raw)
    if mime.startswith("image/") and mime != "image/svg+xml":
        return base64.b64encode(raw).decode()
    return raw.decode("utf-8", "replace")


def _metadata(value: Any) -> Dict:
    return value if isinstance(value, dict) else {}


def _markdown_cell(name: str, text: str) -> Dict:
    return {"cell_type": "markdown", "id": name, "metadata": {}, "source": text}


def _code_cell(name: str, text: str, tags: list[str]) -> Dict:
    return {
        "cell_type": "code",
        "id": name,
        "metadata": {"tags": tags} if tags else {},
        "execution_count": None,
        "source": text,
        "outputs": [],
    }
