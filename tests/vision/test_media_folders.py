"""A folder of numbered frames is a video; what else a folder can hold is told."""

import os

import numpy as np
import pytest
from PIL import Image

from system.errors import UserError
from tests import make_media
from tests.make_media import read
from vision import media, pictures, writing


def write_folder(folder, frames, pattern="{}.png"):
    """Frames as files whose numbers have no zeros before them, written last to first."""
    folder.mkdir(parents=True)
    for k in reversed(range(len(frames))):
        writing.write_image(folder / pattern.format(k), frames[k])
    return folder


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "walk.v2", make_media.numbered_frames(12))


def test_a_folder_is_a_video(folder):
    assert media.kind(folder) == media.kind(f"{folder}/") == "video"
    assert media.probe(folder) == (48, 32, media.FOLDER_FPS, 12)
    np.testing.assert_array_equal(read(folder, batch_size=5), make_media.numbered_frames(12))  # 2 before 10
    assert make_media.numbers(read(folder, [1, 4, 4, 11], size=(10, 20))) == [1, 4, 4, 11]
    for n_samples in (1, 4, 30):
        samples = media.sample_frames(folder, n_samples, (10, 20), whole=True)
        assert samples.shape == (n_samples, 20, 10, 3)
        assert make_media.numbers(samples) == media.sample_indices(12, n_samples).tolist()


@pytest.mark.parametrize(
    "names",
    [
        ["IMG_9 (2).PNG", "IMG_10.PNG", "IMG_101.PNG"],
        ["00000.png", "00001.png", "00010.png"],
        ["s1 take 2.png", "s1 take 10.png", "s2 take 1.png"],
        ["07.png", "7.png", "8.png"],
    ],
)
def test_the_order_of_frames(tmp_path, names):
    for k, name in reversed(list(enumerate(names))):
        Image.fromarray(make_media.numbered_frames(3)[k]).save(tmp_path / name)
    assert [path.name for path in pictures.frame_files(tmp_path)] == names
    assert make_media.numbers(read(tmp_path)) == [0, 1, 2]


def test_other_files_are_no_frames(folder):
    for name in ("._0.png", "notes.txt", "Thumbs.db", "sound1.wav"):
        (folder / name).write_text("nothing")
    (folder / "99.png").mkdir()
    assert media.probe(folder).n_frames == 12


def test_frames_are_read_as_pictures_are(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    frame = np.zeros((2, 3, 3), np.uint8)
    frame[0, 0] = 255
    for k in range(2):
        Image.fromarray(frame).save(tmp_path / f"{k}.png", exif=exif)
    np.testing.assert_array_equal(read(tmp_path), [np.rot90(frame, -1)] * 2)
    assert media.probe(tmp_path)[:2] == (2, 3)


def test_frames_are_read_when_they_are_needed(folder, monkeypatch):
    opened, read_picture = [], pictures.read
    monkeypatch.setattr(pictures, "read", lambda path, *how: (opened.append(path.stem), read_picture(path, *how))[1])
    next(media.read_frames(folder, batch_size=2))
    assert opened == ["0", "1"]
    opened.clear()
    read(folder, [3, 7])
    assert opened == ["3", "7"]


def test_the_name_of_a_medium(folder, monkeypatch):
    assert media.name(folder) == media.name(f"{folder}/") == "walk.v2"
    assert media.name(folder / "0.png") == "0" and media.name("nowhere.x.mp4") == "nowhere.x"
    monkeypatch.chdir(folder)
    assert media.name(".") == "walk.v2"


def test_bad_folders(tmp_path):
    frames = make_media.numbered_frames(3)
    (tmp_path / "empty").mkdir()
    write_folder(tmp_path / "several", frames)
    Image.fromarray(frames[0]).save(tmp_path / "several/3.jpg")
    write_folder(tmp_path / "unnumbered", frames)
    writing.write_image(tmp_path / "unnumbered/cover.png", frames[0])
    reasons = {
        "empty": "a folder without pictures; ",
        "several": r"pictures of several endings \(\.jpg, \.png\)",
        "unnumbered": "'cover.png' has no number in its name",
    }
    for name, reason in reasons.items():
        path = tmp_path / name
        for attempt in (media.kind, media.probe, read, lambda path: media.sample_frames(path, 26, (8, 8))):
            with pytest.raises(UserError, match=reason) as caught:
                attempt(path)
            assert str(caught.value).startswith(f"{path}: ")
    with pytest.raises(UserError, match="empty: is a folder, not a picture"):
        media.read_image(tmp_path / "empty")


def test_bad_frames_are_named(folder):
    writing.write_image(folder / "7.png", np.zeros((30, 50, 3), np.uint8))
    for attempt in (media.probe, read, lambda path: media.sample_frames(path, 12, (8, 8))):
        with pytest.raises(UserError, match=r"7\.png: 50 x 30 pixels, but 0\.png has 48 x 32; the frames .* one size"):
            attempt(folder)
    (folder / "7.png").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"walk\.v2/7\.png: not a picture that can be read"):
        media.probe(folder)
    writing.write_image(folder / "7.png", make_media.noise_frames(1)[0])
    make_media.truncate(folder / "7.png", 0.5)
    with pytest.raises(UserError, match=r"walk\.v2/7\.png: broken picture"):
        media.probe(folder)
    with pytest.raises(UserError, match="frame 12 is wanted, but fewer can be decoded"):
        read(folder, [0, 12])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read(folder):
    folder.chmod(0)
    with pytest.raises(UserError, match=r"walk\.v2: Permission denied"):
        media.kind(folder)


@pytest.mark.parametrize(
    "picture",
    [
        Image.fromarray(np.array([[0, 1, 255]], np.uint8)),
        Image.fromarray(np.array([[0, 1, 300]], np.uint16)),  # labels, which 8 bits would make 0
        Image.fromarray(np.array([[False, True, True]])),
        Image.fromarray(np.array([[[0, 0, 0], [0, 1, 0], [9, 9, 9]]], np.uint8)),
        Image.fromarray(np.array([[[0, 0, 0, 0], [0, 1, 0, 255], [9, 9, 9, 255]]], np.uint8)),
        Image.fromarray(np.array([[0, 2, 1]], np.uint8)).convert("P"),
    ],
    ids=lambda picture: picture.mode,
)
def test_masks_of_any_mode(tmp_path, picture):
    picture.save(tmp_path / "0.png")
    assert pictures.read(tmp_path / "0.png", pictures.above_zero).tolist() == [[False, True, True]]
