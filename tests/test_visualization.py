"""Which media the command line names."""

from pathlib import Path

import numpy as np
import pytest

import visualization
from system.errors import UserError
from tests import make_media


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_pictures(folder, sizes):
    Path(folder).mkdir()
    for name, (height, width) in sizes.items():
        make_media.write_picture(Path(folder) / name, height, width)


def test_a_folder_of_frames_is_a_clip_and_another_one_all_that_is_in_it(here):
    write_pictures("clip", {f"frame_{k:03d}.png": (8, 12) for k in (1, 2, 10)})
    assert visualization.listed("clip") == [Path("clip")]
    write_pictures("numbered", {"000139.png": (8, 12), "000285.png": (12, 8)})  # as COCO's photographs are
    assert visualization.listed("numbered") == [Path("numbered/000139.png"), Path("numbered/000285.png")]
    write_pictures("named", {"b1.png": (8, 12), "a1.png": (8, 12)})
    assert visualization.listed("named") == [Path("named/a1.png"), Path("named/b1.png")]
    write_pictures("mixed", {"1.png": (8, 12), "2.png": (8, 12)})
    make_media.write_video(Path("mixed/holiday.mp4"), make_media.noise_frames(2, 16, 16), fps=5)
    Path("mixed/.hidden").write_text("")
    Path("mixed/inner").mkdir()
    assert visualization.listed("mixed") == [Path(f"mixed/{name}") for name in ("1.png", "2.png", "holiday.mp4")]


def test_patterns_and_lists(here):
    write_pictures("some", {"b.png": (8, 8), "a.png": (8, 8), "[c].png": (8, 8)})
    assert visualization.listed("some/?.png") == [Path("some/a.png"), Path("some/b.png")]
    assert visualization.listed("some/[c].png") == [Path("some/[c].png")]  # a name that looks like a pattern
    Path("list.txt").write_text("some/b.png\n\nother name.mp4\r\n")
    assert visualization.listed("list.txt") == [Path("some/b.png"), Path("other name.mp4")]
    assert visualization.listed("nothing.png") == [Path("nothing.png")]  # that it is missing is told where it is read
    Path("empty.txt").write_text("\n")
    for nothing in ("none/*.png", "empty.txt"):
        with pytest.raises(UserError, match="no such medium"):
            visualization.listed(nothing)


def test_a_broken_frame_does_not_end_the_listing(here):
    write_pictures("clip", {"1.png": (8, 12), "2.png": (8, 12)})
    Path("clip/3.png").write_bytes(np.random.default_rng(0).bytes(50))
    assert len(visualization.listed("clip")) == 3
