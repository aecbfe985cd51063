"""A run that was stopped goes on to the bit, and refuses what it cannot go on with."""

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cfg
from captioner import checkpoint, testing, training
from datasets import store
from system.errors import UserError
from tests.commands import ROOT, settings
from tests.small_runs import DUE, SETTINGS, config_of, content, loss_rows

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("workplace")]

STOPPED_RUN = """
import os, runpy, sys
root, step, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
sys.path.insert(0, root)
from system import device
device.start_tensorflow()
from captioner import training
run = training.Trainer.run

def stopped(trainer):
    for _ in run(trainer):
        if trainer.step == step:
            os.kill(os.getpid(), number)
        yield

training.Trainer.run = stopped
sys.argv = [os.path.join(root, "run_s2vt.py"), *sys.argv[4:]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_until(step, number, *arguments):
    """run_s2vt.py --train in experiments/broken, which gets signal `number` after `step` -> the ended process."""
    arguments = ["--dataset", "MSR-VTT", "--experiment", "experiments/broken", "--train", *arguments]
    command = [sys.executable, "-c", STOPPED_RUN, str(ROOT), str(step), str(int(number)), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_resumed_run_ends_like_the_unbroken_one(trainer):
    broken = Path("experiments/broken")

    interrupted = run_until(5, signal.SIGINT, *settings(*SETTINGS))  # Ctrl-C
    assert interrupted.returncode == 130, interrupted.stderr
    assert "stopped at step 5" in interrupted.stderr and "Traceback" not in interrupted.stderr
    assert checkpoint.steps(broken) == [3, 5]
    assert loss_rows(broken)[..., 0] == 3  # one row

    killed = run_until(15, signal.SIGKILL, "--resume")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert checkpoint.steps(broken) == [3, 6, 10, 13]  # 5 has made room for 6, and 14 and 15 are lost

    resumed = training.resume(config_of("broken"), [])
    assert resumed.step == 13
    training.train(resumed)
    assert checkpoint.steps(broken) == DUE
    assert (broken / "loss.tsv").read_bytes() == Path("experiments/unbroken/loss.tsv").read_bytes()
    for name in ("weights.npz", "optimizer.npz"):
        with np.load(broken / "model-24" / name) as arrays, np.load(f"experiments/unbroken/model-24/{name}") as others:
            assert arrays.files == others.files
            for key in arrays.files:
                assert np.array_equal(arrays[key], others[key]), (name, key)
    states = [
        json.loads(Path(folder, "model-24/state.json").read_text()) for folder in (broken, "experiments/unbroken")
    ]
    assert states[0] == states[1]


def test_exported_captioner_cannot_be_resumed(copied):
    (copied / "model-24/optimizer.npz").unlink()
    with pytest.raises(UserError, match=r"has no optimizer\.npz, as an exported one: train anew"):
        training.resume(config_of("copied"), [])


def test_interim_checkpoint_gives_way_to_the_next(copied):
    for step, losses, kept in (
        (25, [1.0], [24, 25]),
        (26, [1.0], [24, 26]),
        (28, [], [24, 28]),
        (29, [1.0], [24, 28, 29]),
    ):
        trainer = training.resume(config_of("copied"), [])
        trainer.step, trainer.losses_since_save = step, losses  # none left to report: it was due
        trainer.save()
        assert checkpoint.steps(copied)[len(DUE) - 1 :] == kept


def test_rows_that_a_killed_run_lost_are_written_anew(tmp_path):
    table = training.LossTable(tmp_path / "loss.tsv", up_to=0)
    for step in (3, 6, 9):
        table.append(step, 2.0, 1 / 3)
    table = training.LossTable(tmp_path / "loss.tsv", up_to=6)
    table.append(12, 1.0, 0.5)
    expected = "checkpoint\ttrain\tvalidation\n3\t2.000000\t0.333333\n6\t2.000000\t0.333333\n12\t1.000000\t0.500000\n"
    assert (tmp_path / "loss.tsv").read_text() == expected


def test_more_epochs_keep_the_checkpoint_that_was_the_last(copied):
    config = dataclasses.replace(config_of("copied"), batch_size=1)  # of no account: the checkpoint's settings count
    longer = training.resume(config, ["n_epochs=7", "max_to_keep=4"])
    assert longer.config == dataclasses.replace(config_of("copied"), n_epochs=7, max_to_keep=4)
    assert (longer.step, longer.last_step) == (24, 28)
    best = training.train(longer)
    assert not longer.is_due(24)
    assert checkpoint.steps(copied)[-4:] == [22, 24, 26, 28]
    assert set(checkpoint.steps(copied)) == {22, 24, 26, 28, best}
    assert loss_rows(copied)[:, 0].tolist() == [*DUE, 26, 28]


def test_checkpoints_that_a_run_killed_at_its_end_has_left_are_removed(copied):
    """It wrote the last one, and had no time to make room."""
    ended = training.resume(config_of("copied"), ["max_to_keep=1"])
    assert ended.step == ended.last_step
    best = training.train(ended)
    assert set(checkpoint.steps(copied)) == {24, best}


def test_what_resuming_may_not_change_is_refused(copied):
    before = content(copied)
    for assignment in ("dim_hidden=16", "batch_size=2", "learning_rate=1", "seed=1", "cell_clip=1"):
        with pytest.raises(UserError, match="fixed by the checkpoint; here one can set data_dir, descriptors_root,"):
            training.resume(config_of("copied"), [assignment])
    with pytest.raises(UserError, match="no setting 'epochs'"):
        training.resume(config_of("copied"), ["epochs=9"])
    assert content(copied) == before


def test_there_must_be_something_to_resume(copied):
    with pytest.raises(UserError, match=r"no checkpoint in experiments/new to resume from: leave out --resume"):
        training.resume(config_of("new"), [])
    demo = dataclasses.replace(cfg.DATASETS["Demo"], experiment=str(copied))
    with pytest.raises(UserError, match="model-24 was trained on MSR-VTT, not Demo"):
        training.resume(demo, [])
    (copied / "model-24" / "optimizer.npz").write_bytes(b"")
    with pytest.raises(UserError, match="model-24 is damaged"):
        training.resume(config_of("copied"), [])


def change_state(folder, **values):
    path = folder / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_run_is_not_resumed_on_other_samples(copied):
    change_state(copied / "model-24", n_samples=1)
    with pytest.raises(UserError, match=r"model-24 was trained on 1 captions, and now there are \d+: .* train anew"):
        training.resume(config_of("copied"), [])


def test_descriptors_of_another_cnn_are_refused(copied):
    config = config_of("copied")
    change_state(copied / "model-24", cnn_weights_id="one")
    stored = config.descriptors_dir / store.CNN_FILE
    before = stored.read_bytes() if stored.exists() else None
    try:
        stored.write_text(json.dumps({"weights_id": "other"}))
        message = r"model-24 was trained on descriptors of .* with other weights \(one\) than those in .* \(other\)"
        with pytest.raises(UserError, match=message):
            training.resume(config, [])
        with pytest.raises(UserError, match=message):
            testing.test("MSR-VTT", copied, 24)
    finally:
        stored.unlink() if before is None else stored.write_bytes(before)


def test_second_interrupt_does_not_wait():
    handler = signal.getsignal(signal.SIGINT)
    with training.interrupt_flag() as interrupted:
        assert not interrupted
        signal.raise_signal(signal.SIGINT)
        assert interrupted
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == handler
