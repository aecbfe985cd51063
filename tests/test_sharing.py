"""Three processes share the work of stage 1, and some are killed: nothing is lost, nothing done twice."""

import contextlib
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

import cfg
from datasets import annotations, store
from tests import tiny_data
from tests.crash import sharing
from tests.test_preprocessing import MeanColour
from vision import cnn

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
# Of so many frames a worker takes a few clips ahead, and not all of them at once.
MSR_VTT = cfg.override(cfg.DATASETS["MSR-VTT"], ["n_sampled_frames=32", "single_region_share=0.5"])
COMMAND = ["--dataset", "MSR-VTT", "--set", "n_sampled_frames=32", "--set", "single_region_share=0.5"]
# preprocessing.py with a CNN of one idea and without TensorFlow, once a line has come.
WORKER = """
import sys
import preprocessing
from tests.crash import sharing
from tests.test_sharing import stand_in

stand_in(setattr)
sharing.note_beginnings()
print("ready", flush=True)
sys.stdin.readline()
preprocessing.main(sys.argv[1:])
"""


def stand_in(replace):
    from system import device

    replace(cnn, "load", lambda *_: MeanColour())
    replace(device, "start_tensorflow", lambda *_: None)


@pytest.fixture
def data_set(tmp_path, monkeypatch):
    """Twelve clips, of which one is no video."""
    monkeypatch.chdir(tmp_path)
    tiny_data.write_msr_vtt(tmp_path / "DATA/MSR_VTT")
    (tmp_path / "DATA/MSR_VTT/TrainValVideo/video4.mp4").write_bytes(b"no video")
    return tmp_path


@contextlib.contextmanager
def workers(*options, count=3):
    """Processes of stage 1 that begin at the same time, in this folder; killed at the end, where they still run."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    command = [sys.executable, "-c", WORKER, *COMMAND, *options]
    started = [subprocess.Popen(command, env=environment, **pipes) for _ in range(count)]
    try:
        for process in started:
            assert process.stdout.readline() == "ready\n"
        for process in started:
            print(file=process.stdin, flush=True)
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def content(folder):
    """What is stored: dict of name -> bytes; partial files too."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != store.FAILURES}


def stored_alone(monkeypatch):
    """What a single process stores."""
    import preprocessing

    with monkeypatch.context() as patch:
        stand_in(patch.setattr)
        preprocessing.main([*COMMAND, "--set", "descriptors_root=alone"])
    alone = cfg.override(MSR_VTT, ["descriptors_root=alone"])
    return content(alone.descriptors_dir), store.Store(alone).failures()


def n_begun():
    return len(sharing.beginnings("."))


@pytest.mark.parametrize("seed", range(4))
def test_what_killed_workers_had_is_done_by_the_others(data_set, monkeypatch, seed):
    expected, failures = stored_alone(monkeypatch)
    chance = random.Random(seed)
    with workers() as started:
        victims = chance.sample(started, 1 + seed % 2)
        for victim, moment in zip(victims, sorted(chance.sample(range(1, 12), len(victims))), strict=True):
            end = time.monotonic() + 60
            while n_begun() < moment and victim.poll() is None:
                assert time.monotonic() < end
                time.sleep(0.001)
            victim.kill()
            victim.wait(60)
        alive = [process for process in started if process not in victims]
        printed = [process.communicate(timeout=60)[0] for process in alive]
        assert [process.returncode for process in alive] == [0] * len(alive), printed
    assert content(MSR_VTT.descriptors_dir) == expected
    stored = store.Store(MSR_VTT)
    assert stored.failures() == failures and failures.keys() == {"video4"}
    assert sharing.begun_twice(".", [victim.pid for victim in victims]) is None


def test_what_is_done_is_left_alone(data_set):
    """No file is written a second time, by workers of the same run or of the next one; a failure is noted once."""
    stored = store.Store(MSR_VTT)
    with workers() as started:
        seen = {}
        while any(process.poll() is None for process in started):
            for path in stored.folder.glob("[!.]*"):
                first = seen.setdefault(path.name, path.stat())
                assert path.stat().st_ino == first.st_ino, path
        printed = [process.communicate()[0] for process in started]
        assert [process.returncode for process in started] == [0, 0, 0], printed
    assert sharing.begun_twice(".", []) is None
    assert len(stored.noted.path.read_text().splitlines()) == 1
    with workers(count=1) as (again,):
        printed = again.communicate(timeout=60)[0]
    assert "MSR-VTT: 0 media stored" in printed and "1 of them failed in earlier runs" in printed
    assert len(seen) == 2 * 11 + 2
    assert all((stored.folder / name).stat().st_mtime_ns == first.st_mtime_ns for name, first in seen.items())


def test_shards_do_their_part_each(data_set, monkeypatch):
    expected, failures = stored_alone(monkeypatch)
    ids = set(annotations.read_media(MSR_VTT))
    for index in (1, 2, 3):
        with workers("--shard", f"{index}/3", count=1) as (worker,):
            printed = worker.communicate(timeout=60)[0]
        assert f"MSR-VTT, shard {index}/3: " in printed and worker.returncode == 0
    assert content(MSR_VTT.descriptors_dir) == expected and store.Store(MSR_VTT).failures() == failures
    begun = [Path(name).stem for _, name in sharing.beginnings(".")]
    assert sorted(begun) == sorted(ids)
