"""An evaluation that is interrupted, dealt out, or shared by processes: the tables of one that is not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from evaluation import scoring
from system import claims
from tests.commands import ROOT, run
from tests.test_frame_folders import SCORE
from tests.tiny_data import write_davis

pytestmark = pytest.mark.slow
SCORES = Path("saliency/saliency_scores-DAVIS.json")
METHODS = ("--methods", "single_descriptor", "rise", "mean_map", "--faithfulness")


def timeless(folder):
    """The numbers that a run has written, but for how long they took."""
    stored = json.loads((folder / SCORES).read_text())
    return {name: value for name, value in stored.items() if "seconds" not in name}


def lines(folder):
    """The media of the lines in the file of scores, as they came."""
    (path,) = folder.glob("saliency/saliency_scores-DAVIS.*.jsonl")
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The numbers of a run from beginning to end."""
    folder = tmp_path_factory.mktemp("whole")
    write_davis(folder / "DATA/DAVIS")
    run(*SCORE, *METHODS, cwd=folder)
    return timeless(folder)


@pytest.fixture
def davis(tmp_path):
    write_davis(tmp_path / "DATA/DAVIS")
    return tmp_path


def test_what_is_interrupted_goes_on(davis, whole, monkeypatch):
    scored, score = [], scoring.score_subject

    def interrupted(eye, subject, *others):
        if len(scored) == 1:
            raise KeyboardInterrupt
        scored.append(subject.id)
        return score(eye, subject, *others)

    with monkeypatch.context() as patch:
        patch.setattr(scoring, "score_subject", interrupted)
        run(*SCORE, *METHODS, cwd=davis, status=130)
    assert lines(davis) == scored and not (davis / SCORES).exists()
    printed = run(*SCORE, *METHODS, cwd=davis)
    assert "1 of 2 media are scored already" in printed
    assert sorted(lines(davis)) == ["one", "two"] and timeless(davis) == whole
    assert "scored already" not in run(*SCORE, *METHODS, cwd=davis)  # where all is there a run begins anew
    assert sorted(lines(davis)) == ["one", "two"]


def test_parts_add_up(davis, whole):
    count = next(n for n in range(2, 9) if all(len(claims.Shard(k, n).of(["one", "two"])) < 2 for k in range(1, n + 1)))
    parts = [claims.Shard(k, count) for k in range(1, count + 1)]
    first, last = (part for part in parts if part.of(["one", "two"]))
    assert "so far 1 of 2 media" in run(*SCORE, *METHODS, "--shard", str(first), cwd=davis)
    assert "so far" not in run(*SCORE, *METHODS, "--shard", str(last), cwd=davis)
    assert sorted(lines(davis)) == ["one", "two"] and timeless(davis) == whole
    assert "write it as I/N" in run(*SCORE, "--shard", "4/3", cwd=davis, status=2)


def test_what_is_complete_begins_anew_only_where_that_loses_nothing(davis):
    """Not where others have completed it meanwhile, not for a part of it, and not to try again what failed."""
    frame = sorted((davis / "DATA/DAVIS/JPEGImages/two").iterdir())[1]
    good = frame.read_bytes()
    frame.write_bytes(b"broken")
    assert str(frame.parent.name) in run(*SCORE, *METHODS, cwd=davis)
    (path,) = davis.glob("saliency/saliency_scores-DAVIS.*.jsonl")
    before, all_there = path.read_text(), "2 of 2 media are scored already"
    os.utime(path, (2**32, 2**32))  # as if somebody was still at it
    assert all_there in run(*SCORE, *METHODS, cwd=davis) and path.read_text() == before
    os.utime(path, (0, 0))
    for part in (claims.Shard(1, 2), claims.Shard(2, 2)):
        own = part.of(["one", "two"])
        assert (
            f"of {len(own)} media are scored already" in run(*SCORE, *METHODS, "--shard", str(part), cwd=davis)
        ) == bool(own)
    run(*SCORE, *METHODS, "--limit", "1", cwd=davis)
    assert path.read_text() == before
    frame.write_bytes(good)
    assert "1 of 2 media are scored already" in run(*SCORE, *METHODS, "--retry_failures", cwd=davis)
    assert path.read_text().startswith(before) and lines(davis)[2:] == ["two"]


def test_processes_share_the_work(davis, whole):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, ROOT / SCORE[0], *SCORE[1:], *METHODS]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(command, cwd=davis, env=environment, **pipes) for _ in range(2)]
    said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sorted(lines(davis)) == ["one", "two"] and timeless(davis) == whole
