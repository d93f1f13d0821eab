"""docs/deploy.md and deploy/: manifests keep what is promised, systemd reads the units."""

import configparser
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from djsci import conf

from .test_documents import ROOT, blocks

STOP = conf.DEFAULTS["DRAIN"] + 15
UNITS = sorted((ROOT / "deploy").glob("*.service"))
DOCUMENTS: list[dict[str, Any]] = [
    document
    for path in sorted((ROOT / "docs").glob("*.md"))
    for block in blocks(str(path.relative_to(ROOT)), "yaml")
    for document in yaml.safe_load_all(block)
]
PODS = {
    document["metadata"].get("name", "djsci-run"): document["spec"]["template"]["spec"]
    for document in DOCUMENTS
    if document.get("kind") in ("Deployment", "Job")
}


def of_kind(kind: str) -> dict[str, Any]:
    [found] = [document for document in DOCUMENTS if document.get("kind") == kind]
    return found


def test_every_pod_drains_and_has_no_rights_to_spare():
    assert set(PODS) == {"djsci-web", "djsci-worker-default", "djsci-run"}
    for pod in PODS.values():
        assert pod["terminationGracePeriodSeconds"] >= STOP
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"]["type"] == "Localhost"
        assert pod["securityContext"]["appArmorProfile"] == {"type": "Unconfined"}
        assert pod["hostUsers"] is False
        [container] = pod["containers"]
        assert container["securityContext"]["procMount"] == "Unmasked"
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_probes_ask_what_is_served():
    [container] = PODS["djsci-web"]["containers"]
    asked = [container[name]["httpGet"]["path"] for name in ("livenessProbe", "readinessProbe")]
    assert asked == ["/djsci/health/live", "/djsci/health/ready"]


def test_a_pod_that_serves_answers_to_its_own_address():
    [container] = PODS["djsci-web"]["containers"]
    address, hosts = container["env"]
    assert address["valueFrom"] == {"fieldRef": {"fieldPath": "status.podIP"}}
    assert f"$({address['name']})" in hosts["value"].split(",")
    assert "127.0.0.1" in hosts["value"].split(",")  # the probes


def test_a_queue_scales_by_what_waits_and_what_runs():
    spec = of_kind("ScaledObject")["spec"]
    pod = PODS[spec["scaleTargetRef"]["name"]]
    sources = "".join(path.read_text() for path in (ROOT / "djsci/web").glob("*.py"))
    queries = [trigger["metadata"]["query"] for trigger in spec["triggers"]]
    assert queries == [
        'max(djsci_queue_oldest_seconds{queue="default"})',
        'max(djsci_slots{queue="default",busy="true"})',
    ]
    for query, trigger in zip(queries, spec["triggers"], strict=True):
        metric = query.partition("(djsci_")[2].partition("{")[0]
        assert f'"{metric}"' in sources
        assert trigger["metadata"]["ignoreNullValues"] == "false"  # no figure is not an empty queue
    command = pod["containers"][0]["command"]
    assert command[command.index("-c") + 1] == spec["triggers"][1]["metadata"]["threshold"]


def test_a_worker_that_is_scaled_away_may_end_its_runs():
    pod = PODS["djsci-worker-default"]
    [options] = pod["containers"][0]["env"]
    drain = json.loads(options["value"])["DRAIN"]
    assert drain >= conf.DEFAULTS["TIMEOUT"]
    assert pod["terminationGracePeriodSeconds"] >= drain + 15
    behaviour = of_kind("ScaledObject")["spec"]["advanced"]["horizontalPodAutoscalerConfig"]
    assert 0 < behaviour["behavior"]["scaleDown"]["stabilizationWindowSeconds"] <= 3600


def test_a_job_whose_run_is_gone_ends():
    job = of_kind("Job")["spec"]
    assert "podFailurePolicy" not in job  # Ignore would make pods for ever
    tries = sum(min(10 * 2**number, 360) for number in range(job["backoffLimit"]))
    assert tries > conf.DEFAULTS["LEASE"] + 15  # a run that is queued again is found
    assert job["activeDeadlineSeconds"] > tries + conf.DEFAULTS["TIMEOUT"]


def test_the_task_of_fargate_can_read_its_secrets_and_the_contents():
    [block] = blocks("docs/deploy.md", "json")
    task = json.loads(block)
    [container] = task["containerDefinitions"]
    assert container["stopTimeout"] >= STOP
    assert task["executionRoleArn"]
    assert {"DATABASE_URL", "DJSCI_SECRET_KEY"} == {one["name"] for one in container["secrets"]}
    [volume], [mount] = task["volumes"], container["mountPoints"]
    assert (mount["sourceVolume"], mount["containerPath"]) == (volume["name"], "/data")


def test_the_plain_profile_has_no_conditions_and_allows_what_bubblewrap_calls():
    [program] = blocks("docs/deploy.md", "python")
    text = (ROOT / "deploy/seccomp.json").read_text(encoding="utf-8")
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=30)
    plain = json.loads(done.stdout)
    assert all(rule.keys() <= {"names", "action", "args", "errnoRet"} for rule in plain["syscalls"])
    allowed = {name for rule in plain["syscalls"] if "args" not in rule for name in rule["names"]}
    assert allowed >= {"clone", "mount", "pivot_root", "sethostname", "umount2", "unshare"}
    assert not allowed & {"bpf", "init_module", "open_by_handle_at", "perf_event_open", "setns"}


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_reads_the_unit(unit: Path, tmp_path: Path):
    text = unit.read_text(encoding="utf-8")
    read = configparser.RawConfigParser(strict=False)
    read.optionxform = str  # type: ignore[assignment,method-assign]
    read.read_string(text)
    service = read["Service"]
    assert int(service["TimeoutStopSec"]) >= STOP
    wanted = {"KillSignal": "SIGTERM", "KillMode": "mixed", "Delegate": "yes", "User": "djsci"}
    assert {key: service[key] for key in wanted} == wanted
    breaking = {"RestrictNamespaces", "ProtectKernelTunables", "ProtectKernelLogs", "ProcSubset"}
    assert not breaking & set(service)
    assert "ProtectHostname" not in service
    if not shutil.which("systemd-analyze"):
        return
    # An instance of a template, whose program is there.
    here = tmp_path / unit.name.replace("@", "@default")
    here.write_text(text.replace("/opt/djsci/.venv/bin/python", "/bin/sh"), encoding="utf-8")
    command = ["systemd-analyze", "verify", "--man=no", str(here)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    complaints = [line for line in done.stderr.splitlines() if here.name in line]
    assert (done.returncode, complaints) == (0, [])
