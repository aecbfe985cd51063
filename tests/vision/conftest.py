"""A stand-in for ffmpeg."""

import pytest

from vision import ffmpeg_process


@pytest.fixture
def fake_ffmpeg(tmp_path, monkeypatch):
    """A function that puts a shell script in the place of ffmpeg."""

    def install(script):
        program = tmp_path / "ffmpeg"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setattr(ffmpeg_process, "ffmpeg_exe", lambda: str(program))

    return install
