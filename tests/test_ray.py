"""Stage 1 and an evaluation on a Ray cluster of two nodes, of which one is killed: nothing is lost, no bit differs."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import test_evaluate_saliency as evaluation
from tests import tiny_data
from tests.commands import ROOT
from tests.test_frame_folders import SCORE

pytest.importorskip("ray", reason="Ray is not installed: make test-ray")
pytestmark = pytest.mark.slow
STAGE_1 = ("preprocessing.py", "--dataset", "MSR-VTT", "--set", "cnn=efficientnet_lite0", "--gpu", "-1")


@contextlib.contextmanager
def two_nodes():
    """A cluster of a head without CPUs and two nodes of one each -> its address, and the nodes' processes (raylets)."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        nodes = [cluster.add_node(num_cpus=1, include_dashboard=False) for _ in range(2)]
        cluster.wait_for_nodes()
        yield cluster.address, [node.all_processes["raylet"][0].process.pid for node in nodes]
    finally:
        cluster.shutdown()


def children(pid):
    """The processes that one has started."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return list(map(int, found.stdout.split()))


def run_with_a_death(command, folder, begun):
    """A script on two nodes, one of which is killed once begun() -> what it printed."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with two_nodes() as (address, (victim, _)):
        script = [sys.executable, ROOT / command[0], *command[1:], "--ray", address]
        process = subprocess.Popen(script, cwd=folder, **pipes)
        try:
            end = time.monotonic() + 120
            while not begun():
                assert process.poll() is None and time.monotonic() < end, process.communicate()
                time.sleep(0.01)
            for pid in (victim, *children(victim)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            printed = process.communicate(timeout=240)[0]
        finally:
            process.kill()
            process.communicate()
        assert process.returncode == 0, printed
        return printed


def run_alone(command, folder):
    subprocess.run([sys.executable, ROOT / command[0], *command[1:]], cwd=folder, check=True, capture_output=True)


def test_descriptors_are_those_of_one_process(tmp_path):
    tiny_data.write_msr_vtt(tmp_path / "DATA/MSR_VTT")
    (tmp_path / "DATA/MSR_VTT/TrainValVideo/video4.mp4").write_bytes(b"no video")
    run_alone([*STAGE_1, "--set", "descriptors_root=alone"], tmp_path)
    on_ray = [*STAGE_1, "--set", "descriptors_root=together"]
    printed = run_with_a_death(on_ray, tmp_path, lambda: any((tmp_path / "together").rglob("*.npy")))
    assert "MSR-VTT: 11 media stored" in printed and "1 failures" in printed
    alone, together = (
        {path.name: path.read_bytes() for path in (tmp_path / root).rglob("*") if path.is_file()}
        for root in ("alone", "together")
    )
    assert together == alone and "failures.jsonl" in alone


def test_scores_are_those_of_one_process(tmp_path):
    command = [*SCORE, *evaluation.METHODS, "--gpu", "-1"]
    folders = alone, together = [tmp_path / "alone", tmp_path / "together"]
    for folder in folders:
        tiny_data.write_davis(folder / "DATA/DAVIS")
    run_alone(command, alone)
    ledgers = Path(together, "saliency").glob
    run_with_a_death(command, together, lambda: any(ledgers("*.jsonl")))
    assert evaluation.timeless(together) == evaluation.timeless(alone)
    assert sorted(evaluation.lines(together)) == ["one", "two"]
