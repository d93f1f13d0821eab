"""How a run is told in a sentence: what it waits for, how long it ran, why it ended."""

from datetime import datetime

from djsci.models import Run


def sentence(run: Run, *, now: datetime, ahead: int = 0) -> str:
    """One line for people; the state's own word stands beside it."""
    match run.state:
        case "queued":
            waited = f"Queued {seconds((now - run.created).total_seconds())}"
            return f"{waited}: {ahead} ahead of you" if ahead else waited
        case "starting":
            return "Starting"
        case "running":
            begun = run.started or run.created
            return f"Running {seconds((now - begun).total_seconds())}"
        case "cancelling":
            return "Cancelling…"
        case "succeeded":
            return f"Succeeded, ran {seconds(run.elapsed)}"
        case "failed":
            return _failed(run)
        case "timed_out":
            return f"Stopped at its limit of {seconds(run.timeout)}"
        case "cancelled":
            return "Cancelled; its thread may still work" if run.abandoned else "Cancelled"
        case "crashed":
            return f"Its process was killed: {run.reason}" if run.reason else "Its process died"
        case "lost":
            return "Its worker vanished"
        case "denied":
            return f"Refused: {run.reason}" if run.reason else "Refused"
    return run.state


def _failed(run: Run) -> str:
    error = run.error or {}
    if not error:
        return f"Failed: {run.reason}" if run.reason else "Failed"
    said = ": ".join(part for part in (error.get("ename"), error.get("evalue")) if part)
    places = [f"{name} {error[name]}" for name in ("cell", "line") if error.get(name)]
    return ", ".join([f"Failed: {said[:300]}", *places])


def seconds(value: float | None) -> str:
    """A length of time in two units at most: 0.42 s, 12 s, 3 min 5 s, 2 h 10 min."""
    if value is None:
        return "–"
    if value < 10:
        return f"{max(value, 0):.2f}".rstrip("0").rstrip(".") + " s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    larger, unit, smaller = (60, "min", "s") if whole < 3600 else (3600, "h", "min")
    major, rest = divmod(whole, larger)
    minor = rest if smaller == "s" else rest // 60
    return f"{major} {unit} {minor} {smaller}" if minor else f"{major} {unit}"
