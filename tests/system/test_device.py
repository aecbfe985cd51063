"""TensorFlow starts on the device that was asked for, and says so where there is none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def start(code, **environment):
    """Run `code`, which starts TensorFlow, in a process of its own -> what it prints, says on stderr, exit status."""
    ran = subprocess.run(
        [sys.executable, "-c", f"import os\nfrom system import device, errors\n{code}"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    return ran.stdout.strip(), ran.stderr, ran.returncode


def test_the_flag_chooses_the_device():
    code = "device.start_tensorflow('-1')\nprint(os.environ['CUDA_VISIBLE_DEVICES'])"
    assert start(code, CUDA_VISIBLE_DEVICES="3") == ("-1", "", 0)


def test_without_the_flag_the_devices_stay_as_they_are_and_a_gpu_that_is_not_there_is_an_error():
    code = (
        "device.start_tensorflow()\n"
        "print(os.environ['CUDA_VISIBLE_DEVICES'])\n"
        "errors.run(lambda: device.start_tensorflow('4711'))\n"
    )
    printed, said, status = start(code, CUDA_VISIBLE_DEVICES="3")
    assert (printed, status) == ("3", 2)
    assert said.startswith("-c: error: --gpu 4711: TensorFlow finds no such GPU; leave the flag out")
    assert len(said.splitlines()) == 1
