"""Several GPUs or machines train what one does, and end together: by real processes, and by two parts of this CPU."""

import functools
import json
import os
import random
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import data_loader
from captioner import checkpoint, distribution, naming, training
from tests.captioners import random_batch, random_model
from tests.commands import ROOT, settings
from tests.small_runs import SETTINGS, config_of, content, loss_rows

# 14 captions, 4 a batch: the last batch of an epoch has 2, fewer than three workers; of 7 media with two captions each
# it has one, fewer than two. 20 steps.
RUN = [*SETTINGS, "learning_rate=0.001", "n_epochs=5"]
ALL = (
    *("weight_decay=0.01", "ema_decay=0.9", "label_smoothing=0.1", "naming_weight=0.1"),
    *("captions_per_medium=2", "self_critical_epochs=2", "learning_rate_schedule=cosine"),
)
RUNS = {"plain": (), "all": ALL}
ONE_LINE = "run_s2vt.py: error: another worker has ended or cannot be reached, so this one ends, too: "

# run_s2vt.py, whose worker of that number gets a signal after a step.
STOPPED_RUN = """
import json, os, runpy, sys
root, number, step, signal = sys.argv[1], *map(int, sys.argv[2:5])
sys.path.insert(0, root)
from system import device
device.start_tensorflow(set_up=False)
from captioner import training
run = training.Trainer.run

def stopped(trainer):
    for _ in run(trainer):
        if trainer.step == step and trainer.distribution.part[0] == number:
            os.kill(os.getpid(), signal)
        yield

training.Trainer.run = stopped
sys.argv = [os.path.join(root, "run_s2vt.py"), *sys.argv[5:]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

# Trains on two parts of the CPU, as on two GPUs, in each of the folders with the settings that follow it.
ON_TWO_DEVICES = """
import json, sys
sys.path.insert(0, sys.argv[1])
from system import device
device.start_tensorflow("-1", set_up=False)
import tensorflow as tf
cpu, = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from captioner import distribution, training
from tests.small_runs import config_of
engine = distribution.Distributed(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
for name, settings in json.loads(sys.argv[2]).items():
    training.train(training.start(config_of(name, *settings), engine))
"""


def free_ports(n):
    """Addresses of this machine that nobody listens at."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return addresses


def train_with(n_workers, *arguments, stopped=None, only=None):
    """run_s2vt.py --train by several processes -> of each its exit status, what it printed, and its stderr.

    stopped: (number, step, signal) of a worker that gets a signal; only: {number: more arguments} for some workers.
    """
    addresses = free_ports(n_workers)
    script = [str(ROOT / "run_s2vt.py")] if stopped is None else ["-c", STOPPED_RUN, str(ROOT), *map(str, stopped)]
    command = [sys.executable, *script, "--dataset", "MSR-VTT", "--train", *arguments]
    running = []
    for index in range(n_workers):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CONFIG": json.dumps(task)}
        running.append(
            subprocess.Popen(
                [*command, *(only or {}).get(index, [])],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        told = [process.communicate(timeout=120) for process in running]
        return [(process.returncode, *both) for process, both in zip(running, told, strict=True)]
    finally:
        for process in running:
            process.kill()


def in_folder(name, *assignments):
    return ["--experiment", f"experiments/{name}", *settings(*RUN, *assignments)]


@pytest.fixture(scope="module")
def one(folder):
    """A function of the name of a run: one process trains it, once -> the folder of its experiment."""

    @functools.cache
    def train(name):
        training.train(training.start(config_of(f"{name} by one", *RUN, *RUNS[name])))
        return Path(f"experiments/{name} by one")

    return train


def assert_same(experiment, other):
    """The same files, and in the last checkpoint the same numbers but for the order in which they were added."""
    experiment, other = Path(experiment), Path(other)
    assert checkpoint.steps(experiment) == checkpoint.steps(other)
    last = f"model-{checkpoint.steps(other)[-1]}"
    for name in ("weights.npz", "optimizer.npz"):
        with np.load(experiment / last / name) as arrays, np.load(other / last / name) as others:
            assert arrays.files == others.files
            for key in arrays.files:
                np.testing.assert_allclose(arrays[key], others[key], rtol=0, atol=1e-5, err_msg=key)
    np.testing.assert_allclose(loss_rows(experiment), loss_rows(other), rtol=0, atol=1e-5)
    assert not list(experiment.rglob(".*partial*")) and (experiment / "tensorboard").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name, n_workers", [("plain", 3), ("all", 2)])
def test_workers_train_what_one_process_does(one, workplace, name, n_workers):
    chief, *others = train_with(n_workers, *in_folder(name, *RUNS[name]))
    assert chief[0] == 0, chief
    assert "best on validation: checkpoint" in chief[1]
    for number, (status, printed, stderr) in enumerate(others, 1):
        assert (status, stderr) == (0, "")  # it tells nothing, and writes nothing
        assert len(printed.splitlines()) == 1 and printed.startswith(f"worker {number} of {n_workers}, ")
    assert_same(f"experiments/{name}", one(name))


@pytest.mark.slow
def test_devices_train_what_one_device_does(one, workplace):
    asked = json.dumps({f"{name} on devices": [*RUN, *assignments] for name, assignments in RUNS.items()})
    subprocess.run([sys.executable, "-c", ON_TWO_DEVICES, str(ROOT), asked], check=True, timeout=300)
    for name in RUNS:
        assert_same(f"experiments/{name} on devices", one(name))


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_worker_ends_the_others_and_all_can_go_on(one, workplace, killed):
    name = f"killed {killed}"
    ended = train_with(2, *in_folder(name), stopped=(killed, 8, int(signal.SIGKILL)))
    assert ended[killed][0] == -signal.SIGKILL
    status, _, stderr = ended[1 - killed]
    assert status == 2, stderr
    line = stderr.splitlines()[-1]
    assert line.startswith(ONE_LINE) and "--train --resume" in line and "Traceback" not in stderr
    if killed == 0:
        assert stderr.splitlines() == [line]
    assert checkpoint.steps(f"experiments/{name}") == [3, 6]
    if killed == 1:  # the same folder, but for what says when
        return
    resumed = train_with(2, "--experiment", f"experiments/{name}", "--resume")
    assert [status for status, *_ in resumed] == [0, 0], resumed
    assert "from step 6 to 20" in resumed[0][1]
    assert_same(f"experiments/{name}", one("plain"))


@pytest.mark.slow
def test_ctrl_c_at_any_worker_leaves_a_checkpoint(workplace):
    ended = train_with(2, *in_folder("interrupted"), stopped=(1, 5, int(signal.SIGINT)))
    assert [status for status, *_ in ended] == [130, 130], ended
    assert "stopped at step 5; --train --resume goes on" in ended[0][2]
    assert checkpoint.steps("experiments/interrupted") == [3, 5]


@pytest.mark.slow
def test_workers_that_differ_are_refused_before_anything_is_removed(one, workplace):
    (one("plain") / ".lock").touch()
    before = content(one("plain"))
    again = ["--experiment", str(one("plain")), *settings(*RUN)]
    ended = train_with(2, *again, only={1: settings("seed=1")})
    for status, _, stderr in ended:
        assert status == 2
        assert len(stderr.splitlines()) == 1 and "error: the workers differ: this one has 14 captions" in stderr
    assert content(one("plain")) == before


@pytest.mark.slow
def test_a_worker_that_cannot_join_says_so(workplace):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        task = {"cluster": {"worker": [address, *free_ports(1)]}, "task": {"type": "worker", "index": 0}}
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CONFIG": json.dumps(task)}
        command = [sys.executable, ROOT / "run_s2vt.py", "--dataset", "MSR-VTT", "--train", *in_folder("alone")]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"run_s2vt.py: error: worker 0 cannot join at {address}: ")
    assert len(ended.stderr.splitlines()) == 1


# Stand-ins: one node, this machine, and a task for each number that SLURM would give.
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
for SLURM_PROCID in $(seq 0 $((SLURM_NTASKS - 1))); do
  SLURM_PROCID=$SLURM_PROCID "$@" &
done
status=0
for k in $(seq "$SLURM_NTASKS"); do wait -n || status=$?; done
exit $status
"""
SCONTROL = "#!/bin/bash\n[[ $* == 'show hostnames here' ]] && echo 127.0.0.1\n"


@pytest.mark.slow
def test_the_script_for_slurm_starts_the_workers(one, workplace, tmp_path):
    text = (ROOT / "docs/scale.md").read_text(encoding="utf-8")
    script = re.search(r"```bash\n(#!/bin/bash\n#SBATCH.*?)```", text, re.DOTALL)[1]
    arguments = shlex.join(["--dataset", "MSR-VTT", "--train", *in_folder("slurm")])
    script = script.replace(
        "run_s2vt.py --dataset MSR-VTT --train", f"{shlex.quote(str(ROOT / 'run_s2vt.py'))} {arguments}"
    )
    for name, content_of in (("srun", SRUN), ("scontrol", SCONTROL), ("train.sh", script)):
        (tmp_path / name).write_text(content_of)
        (tmp_path / name).chmod(0o755)
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "-1",
        "PATH": f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SLURM_JOB_ID": str(random.randrange(10**6)),
        "SLURM_JOB_NODELIST": "here",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_NTASKS": "2",
    }
    ended = subprocess.run([tmp_path / "train.sh"], env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert sorted(re.findall(r"worker (\d) of 2, 127\.0\.0\.1:2", ended.stdout)) == ["0", "1"]
    assert_same("experiments/slurm", one("plain"))


def shares(n_media, n_parts):
    return [(*data_loader.rows_of((k, n_parts), n_media), n_media) for k in range(n_parts)]


@pytest.mark.parametrize("n_parts", [2, 3, 7])
def test_shares_of_a_loss_add_up_to_it(n_parts):
    """Five media with two captions each, and more parts than media, too: dropout is that of the whole batch."""
    rng = np.random.default_rng(0)
    model = random_model(rng, input_keep_prob=0.6, output_keep_prob=0.7, label_smoothing=0.1)
    _, captions, masks = random_batch(rng, model, 10, 3, 6)
    descriptors = rng.normal(size=(5, 3, 4)).astype(np.float32)
    weights = rng.normal(size=10).astype(np.float32)
    prior = np.log(np.full(9, 0.1, np.float32))

    def losses(descriptors, share=None):
        given = captions, masks
        weighted, n_words = model.caption_loss_sum(descriptors, *given, caption_weights=weights, share=share)
        whole = model.caption_loss(descriptors, *given, training=True, seed=(1, 2), share=share)
        return [whole, weighted, naming.loss(model, descriptors, *given, prior, share)], n_words

    expected, n_words = losses(descriptors)
    parts = [losses(descriptors[first:end], distribution.Share(first, end, n)) for first, end, n in shares(5, n_parts)]
    np.testing.assert_allclose(np.sum([values for values, _ in parts], axis=0), expected, rtol=1e-5)
    assert {float(n) for _, n in parts} == {float(n_words)} == {masks.sum()}


def test_captions_drawn_in_parts_are_those_drawn_at_once():
    rng = np.random.default_rng(0)
    model, descriptors = random_model(rng), rng.normal(size=(5, 3, 4)).astype(np.float32)
    whole = model.sample(descriptors, 4, (1, 2)).numpy()
    assert len(np.unique(whole, axis=0)) > 10
    parts = [model.sample(descriptors[first:end], 4, (1, 2), first) for first, end, _ in shares(5, 7)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
