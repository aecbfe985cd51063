"""The project's scripts as the tests run them: in this process, where TensorFlow runs already, or in one of their own.

A run in this process has all of a real one but the start of Python, and loads a CNN only where no run before it has.
"""

import contextlib
import functools
import importlib
import io
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from system import errors
from vision import cnn

ROOT = Path(__file__).resolve().parents[1]
SMALL = ["dim_hidden=16", "dim_word_emb=8", "batch_size=4", "n_epochs=2", "save_every_n_epoch=1.0"]


def settings(*assignments):
    """The arguments that change settings: "key=value" texts -> list of str."""
    return [word for assignment in assignments for word in ("--set", assignment)]


@functools.cache
def _loaded(load, name, weights, precision):
    return load(name, weights, None, precision)


def _load_once(name, weights=None, input_size=None, precision="float32", load=cnn.load):
    """As `cnn.load`, which builds and traces a CNN for seconds; a loaded one serves every size."""
    extractor = _loaded(load, name, weights, precision)
    return extractor if input_size is None else extractor.at(input_size)


def run(script, *arguments, cwd, status=0):
    """`python script arguments` in the folder `cwd`, in this process -> what it printed, both streams."""
    module, printed, ended_with = importlib.import_module(Path(script).stem), io.StringIO(), 0
    with (
        pytest.MonkeyPatch.context() as patch,
        mock.patch.dict(os.environ),  # what the script does to it ends with the script
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
    ):
        patch.chdir(cwd)
        patch.setattr(sys, "argv", [str(ROOT / script), *map(str, arguments)])
        patch.setattr(cnn, "load", _load_once)
        try:
            errors.run(module.main)
        except SystemExit as end:
            ended_with = end.code
    assert ended_with == status, printed.getvalue()
    return printed.getvalue()


def run_process(script, *arguments, cwd, status=0):
    """As `run`, in a process of its own."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, ROOT / script, *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr
