"""TensorFlow starts on the device that was asked for, and says so where there is none."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def start(argument, **environment):
    """Start TensorFlow in a process of its own -> (its CUDA_VISIBLE_DEVICES, what it says on stderr, exit status)."""
    code = (
        "import os\n"
        "from system import device, errors\n"
        f"errors.run(lambda: device.start_tensorflow({argument}))\n"
        "print(os.environ['CUDA_VISIBLE_DEVICES'])\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True
    )
    return ran.stdout.strip(), ran.stderr, ran.returncode


def test_without_the_flag_the_devices_stay_as_they_are():
    assert start("", CUDA_VISIBLE_DEVICES="3") == ("3", "", 0)


def test_the_flag_chooses_the_device():
    assert start("'-1'", CUDA_VISIBLE_DEVICES="3") == ("-1", "", 0)


def test_a_gpu_that_is_not_there_is_an_error():
    _, said, status = start("'4711'")
    assert status == 2
    assert said.startswith("-c: error: --gpu 4711: TensorFlow finds no such GPU; leave the flag out")
    assert len(said.splitlines()) == 1
