"""A part of a video: the frames that are meant, wherever a video is read."""

import numpy as np
import pytest
from PIL import Image

from system.errors import UserError
from vision import excerpt, media, writing
from vision.excerpt import Excerpt


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """50 frames, 10 a second, each of another grey."""
    frames = np.repeat(np.arange(50, dtype=np.uint8)[:, None, None, None] * 5, 3, axis=3)
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    writing.write_video(path, np.broadcast_to(frames, (50, 32, 48, 3)), 10)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """48 frames, 24 a second."""
    path = tmp_path_factory.mktemp("frames")
    for k in range(48):
        Image.new("RGB", (48, 32), (k * 5,) * 3).save(path / f"{k:03d}.png")
    return path


@pytest.fixture(scope="module")
def moving(tmp_path_factory):
    """20 frames, 10 a second."""
    path = tmp_path_factory.mktemp("moving") / "moving.gif"
    first, *others = (Image.new("RGB", (48, 32), (k * 12,) * 3) for k in range(20))
    first.save(path, save_all=True, append_images=others, duration=100)
    return path


def numbers(path, step=5, **options):
    batches = list(media.read_frames(path, **options))
    return [round(float(frame.mean()) / step) for batch in batches for frame in batch]


CASES = [
    ({}, range(50)),
    ({"start": 1.0}, range(10, 50)),
    ({"end": 2.0}, range(20)),
    ({"start": 1.0, "end": 2.0}, range(10, 20)),
    ({"start": 1.05, "end": 2.05}, range(11, 21)),
    ({"every": 7}, range(0, 50, 7)),
    ({"start": 1.0, "end": 4.0, "every": 5}, range(10, 40, 5)),
    ({"start": 1.0, "every": 0.5}, range(10, 50, 5)),
    ({"every": 0.25}, [0, 3, 5, 8, 10, 13, 15, 18, 20, 23, 25, 28, 30, 33, 35, 38, 40, 43, 45, 48]),
    ({"every": 100}, [0]),
]


@pytest.mark.parametrize("asked, expected", CASES)
def test_frames_of_a_film(film, asked, expected):
    clip = Excerpt(film, **asked)
    expected = list(expected)
    assert numbers(clip) == expected
    info = media.probe(clip)
    assert (info.n_frames, info.width, info.height) == (len(expected), 48, 32)
    if len(expected) > 1:
        assert info.fps == pytest.approx(10 * (len(expected) - 1) / (expected[-1] - expected[0]))
    some = np.array([0, len(expected) // 2, len(expected) - 1])
    assert numbers(clip, indices=some) == [expected[k] for k in some]
    sampled = media.sample_frames(clip, 4, (48, 32))
    assert [round(frame.mean() / 5) for frame in sampled] == [
        expected[k] for k in media.sample_indices(len(expected), 4)
    ]


def test_frames_of_a_folder_and_of_a_moving_picture(folder, moving):
    assert numbers(Excerpt(folder, 0.5, 1.5, 6)) == [12, 18, 24, 30]
    assert numbers(Excerpt(folder, 0.5, 1.5, 6), indices=np.array([1, 3])) == [18, 30]
    info = media.probe(Excerpt(folder, 0.5, 1.5, 0.25))
    assert (info.n_frames, info.fps) == (4, 4)
    assert numbers(Excerpt(moving, 0.5, 1.5, 3), 12) == [5, 8, 11, 14]
    assert media.probe(Excerpt(moving, 0.5, 1.5, 3)).fps == pytest.approx(10 / 3)
    assert len(media.sample_frames(Excerpt(moving, 0.5), 3, (48, 32))) == 3


def test_a_part_without_a_frame_is_told(film, folder):
    for path in (film, folder):
        with pytest.raises(UserError, match="no frame from 100 s to its end"):
            media.probe(Excerpt(path, 100.0))
        with pytest.raises(UserError, match="no frame from 100 s to 101 s"):
            media.sample_frames(Excerpt(path, 100.0, 101.0), 4, (48, 32))


def test_what_its_pictures_are_called(film):
    assert media.name(Excerpt(film)) == "film"
    assert media.name(Excerpt(film, 3723.0, 3900.5, 5)) == "film-from_3723-to_3900.5-every_5"
    assert media.name(Excerpt(film, every=0.5)) == "film-every_0.5s"


@pytest.mark.parametrize(
    "text, expected", [("1:02:03", 3723), ("62:03", 3723), ("3723.5", 3723.5), ("0", 0), (" 7 ", 7)]
)
def test_times(text, expected):
    assert excerpt.seconds(text) == expected


@pytest.mark.parametrize(
    "start, end, every, message",
    [
        ("1:2:3:4", None, None, "'1:2:3:4' is no time"),
        ("-5", None, None, "'-5' is no time"),
        (None, "soon", None, "'soon' is no time"),
        ("5", "5", None, "--end 5 is not after --start 5"),
        (None, "0", None, "--end 0 is not after --start 0"),
        (None, None, "0", "'0' is no stride"),
        (None, None, "2.5", "'2.5' is no stride"),
        (None, None, "0s", "'0s' is no stride"),
    ],
)
def test_nonsense_is_refused(start, end, every, message):
    with pytest.raises(UserError, match=message):
        excerpt.of("film.mp4", start, end, every)


def test_nothing_asked_is_the_path_itself():
    assert excerpt.of("film.mp4") == excerpt.Path("film.mp4")
    assert excerpt.of("film.mp4", every="2s") == Excerpt(excerpt.Path("film.mp4"), every=2.0)
