"""TensorFlow is set up for the tests as the commands set it up."""

import os

import pytest

from system import device

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # exact numbers are those of the CPU
if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the processor already
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
device.set_environment()

LONGEST = "test_all_stages_from_another_folder", "test_meteor_by_hand_in_a_locale_with_decimal_commas"


def pytest_collection_modifyitems(items):
    """The longest tests come first, so that no worker is left alone with them at the end."""
    items.sort(key=lambda item: item.name not in LONGEST)


@pytest.fixture
def no_java(monkeypatch):
    """Java takes seconds to start; test_caption_scores.py has the scores that need it."""
    from captioner import testing

    def missing(*_args):
        raise testing.caption_scores.JavaError("there is no Java here")

    monkeypatch.setattr(testing.caption_scores, "tokenize_ptb", missing)
    monkeypatch.setattr(testing.caption_scores, "meteor", missing)


@pytest.fixture
def fake_ffmpeg(tmp_path, monkeypatch):
    """A function that puts a shell script in the place of ffmpeg."""
    from vision import ffmpeg_process

    def install(script):
        program = tmp_path / "ffmpeg"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setattr(ffmpeg_process, "ffmpeg_exe", lambda: str(program))

    return install


@pytest.fixture(scope="session")
def browser():
    """A headless chromium; without one (browser.needs_chromium) nobody asks for it."""
    from tests.browser import CHROMIUM

    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as started, started.chromium.launch(executable_path=CHROMIUM) as running:
        yield running
