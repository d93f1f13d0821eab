"""Kernels that a provisioner of others starts: by name, with the site's leave, never in silence."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as now
from django.test import override_settings
from jupyter_client.provisioning import KernelProvisionerFactory

from djsci import runs
from djsci.access.callers import Caller
from djsci.access.database import in_database
from djsci.core.errors import IsolationUnavailable
from djsci.models import PrivateFile, Run

MakeFile = Callable[..., PrivateFile]
MODULE = """
import os
from jupyter_client.provisioning import LocalProvisioner
class Far(LocalProvisioner):
    async def pre_launch(self, **kwargs):
        assert "DJSCI_SECRET" not in kwargs["env"]
        kwargs["env"]["FAR"] = "far away"
        return await super().pre_launch(**kwargs)
"""


def notebook(*cells: str) -> bytes:
    told = [
        {"cell_type": "code", "id": str(at), "source": text, "metadata": {}, "outputs": []}
        for at, text in enumerate(cells)
    ]
    spec = {"name": "far", "language": "Far", "display_name": "Far"}
    body = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": spec}, "cells": told}
    return json.dumps(body).encode()


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A kernelspec with a provisioner of its own, installed as others are: by an entry point."""
    (tmp_path / "far_provisioner.py").write_text(MODULE)
    info = tmp_path / "far-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: far\nVersion: 1\n")
    points = "[jupyter_client.kernel_provisioners]\nfar-provisioner = far_provisioner:Far\n"
    (info / "entry_points.txt").write_text(points)
    spec = tmp_path / "kernels" / "far"
    spec.mkdir(parents=True)
    told: dict[str, Any] = {"display_name": "Far", "language": "Far"}
    told["argv"] = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    told["metadata"] = {"kernel_provisioner": {"provisioner_name": "far-provisioner"}}
    (spec / "kernel.json").write_text(json.dumps(told))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("DJSCI_SECRET", "of the server")
    KernelProvisionerFactory.clear_instance()
    yield "far-provisioner"
    KernelProvisionerFactory.clear_instance()


async def test_a_kernel_of_a_provisioner_that_the_site_names_runs_and_says_where(
    far: str, make_file: MakeFile, caller: Caller
) -> None:
    code = notebook("import os\nprint(os.environ['FAR'])", "1 + 1")
    with override_settings(DJSCI={**now.DJSCI, "PROVISIONERS": [far], "POOL": {"size": 0}}):
        file = await in_database(make_file, code, entry="report.ipynb", engine="kernel")
        started = await runs.start(file.pk, caller=caller, trigger="api", parameters={})
        assert await runs.finish(started.run_id, wait=60)
    run = await Run.objects.aget(pk=started.run_id)
    said = "\n".join([row.data async for row in run.log.order_by("last")])
    assert (run.state, run.isolation, run.reason) == ("succeeded", "elsewhere", "")
    assert "far away" in said


async def test_a_provisioner_that_the_site_does_not_name_starts_nothing(
    far: str, make_file: MakeFile, caller: Caller
) -> None:
    file = await in_database(make_file, notebook("1"), entry="report.ipynb", engine="kernel")
    with pytest.raises(IsolationUnavailable, match="'far-provisioner', which DJSCI"):
        await runs.start(file.pk, caller=caller, trigger="api", parameters={})
