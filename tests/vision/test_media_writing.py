"""Videos and pictures are written, and read back."""

import contextlib

import numpy as np
import pytest
from PIL import Image

from system.errors import UserError
from tests import make_media
from tests.make_media import read
from vision import media, writing


def test_write_image(tmp_path):
    frame = make_media.noise_frames(1, 7, 5)[0]
    writing.write_image(tmp_path / "-x.png", frame)
    np.testing.assert_array_equal(media.read_image(tmp_path / "-x.png"), frame)


@pytest.mark.parametrize("n_frames", [1, 4])
def test_write_video(tmp_path, n_frames):
    frame = np.zeros((31, 33, 3), np.uint8)
    frame[:, :16], frame[:, 16:] = (200, 30, 60), (20, 90, 220)
    path = tmp_path / "new folder" / "v.mp4"
    writing.write_video(path, (frame for _ in range(n_frames)), 30000 / 1001)
    assert media.probe(path) == (34, 32, pytest.approx(30000 / 1001), n_frames)
    written = read(path).astype(int)
    # Colour is stored at half the resolution, so the edge between the two spreads over a few pixels.
    np.testing.assert_allclose(written[:, :, :10], np.broadcast_to((200, 30, 60), (n_frames, 32, 10, 3)), atol=3)
    np.testing.assert_allclose(written[:, :, 22:], np.broadcast_to((20, 90, 220), (n_frames, 32, 12, 3)), atol=3)
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # plays while it loads
    colour = content[content.index(b"colrnclx") + 8 :]
    assert colour[:6] == b"\0\1\0\1\0\1"  # BT.709: primaries, transfer, matrix
    assert content[content.index(b"avcC") + 5] == 100  # profile High: 4:2:0 of 8 bits, which every player knows


def test_write_gif(tmp_path):
    colours = np.array([[200, 30, 60], [20, 90, 220], [10, 250, 20]], np.uint8)
    frames = np.broadcast_to(colours[:, None, None], (3, 15, 21, 3))
    writing.write_gif(tmp_path / "v.gif", iter(frames), 10)
    assert media.kind(tmp_path / "v.gif") == "video"
    assert media.probe(tmp_path / "v.gif") == (21, 15, 10.0, 3)
    np.testing.assert_allclose(read(tmp_path / "v.gif").astype(int), frames, atol=4)
    with Image.open(tmp_path / "v.gif") as picture:
        assert picture.info["loop"] == 0  # for ever
    writing.write_gif(tmp_path / "fast.gif", iter(make_media.numbered_frames(20)), 100)
    assert media.probe(tmp_path / "fast.gif").fps == pytest.approx(50)


def test_frames_are_asked_for_one_at_a_time(tmp_path):
    waiting = []

    def frames():
        for k in range(200):
            waiting.append(k)
            yield np.zeros((256, 256, 3), np.uint8)
            if k == 100:
                raise KeyError("the caller's own trouble")

    with pytest.raises(KeyError, match="own trouble"):
        writing.write_video(tmp_path / "v.mp4", frames(), 25)
    assert waiting == list(range(101))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", [writing.write_video, writing.write_gif])
def test_failures_to_write(tmp_path, fake_ffmpeg, write):
    frames = np.zeros((4, 256, 256, 3), np.uint8)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"x\.mp4: cannot be written"):
        write(tmp_path / "file" / "x.mp4", frames, 25)
    with pytest.raises(UserError, match=r"x\.mp4: there is no frame"):
        write(tmp_path / "x.mp4", iter([]), 25)
    with pytest.raises(ValueError, match="frame of shape"):
        write(tmp_path / "x.mp4", [frames[0], frames[0, :128]], 25)
    fake_ffmpeg("echo '[out#0/mp4 @ 0x5f] Error muxing a packet: No space left on device' >&2; exit 228")
    with pytest.raises(
        UserError, match=r"x\.mp4: cannot be written \(Error muxing a packet: No space left on device\)"
    ):
        write(tmp_path / "x.mp4", frames, 25)
    with contextlib.suppress(FileNotFoundError):
        (tmp_path / "ffmpeg").unlink()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_image_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"x\.png: cannot be written"):
        writing.write_image(tmp_path / "file" / "x.png", np.zeros((2, 2, 3), np.uint8))
