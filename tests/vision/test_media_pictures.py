"""Pictures are read, whatever their mode; animations are videos."""

import numpy as np
import pytest
from PIL import Image

from system.errors import UserError
from tests import make_media
from tests.make_media import read
from vision import media

WHITE = (255, 255, 255)
RAMP = np.arange(0, 250, 10, np.uint8).reshape(5, 5)  # 0, 10, ... 240
RAMP16 = RAMP.astype(np.uint16) * 257  # the same of 65535


@pytest.mark.parametrize(
    ("name", "picture", "options"),
    [
        ("gray.png", Image.fromarray(RAMP), {}),
        ("sixteen.png", Image.fromarray(RAMP16), {}),
        ("sixteen.tif", Image.fromarray(RAMP16), {}),
        ("integer.tif", Image.fromarray(RAMP16.astype(np.int32)), {}),
        ("unit_float.tif", Image.fromarray(RAMP.astype(np.float32) / 255), {}),
        ("float.tif", Image.fromarray(RAMP.astype(np.float32)), {}),
        ("palette.png", Image.fromarray(RAMP).convert("P"), {}),
        ("rgba.png", Image.fromarray(np.dstack([RAMP] * 3 + [np.full_like(RAMP, 255)])), {}),
        ("cmyk.tif", Image.fromarray(np.dstack([255 - RAMP] * 3 + [np.zeros_like(RAMP)]), "CMYK"), {}),
        ("named_wrongly.mp4", Image.fromarray(RAMP), {"format": "PNG"}),
    ],
)
def test_modes_of_pictures(tmp_path, name, picture, options):
    picture.save(tmp_path / name, **options)
    assert media.kind(tmp_path / name) == "image"
    image = media.read_image(tmp_path / name)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.dstack([RAMP] * 3))


def test_one_bit(tmp_path):
    Image.fromarray(RAMP > 100).save(tmp_path / "one.png")
    np.testing.assert_array_equal(media.read_image(tmp_path / "one.png"), np.dstack([255 * (RAMP > 100)] * 3))


def test_transparency_is_white(tmp_path):
    half = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    half.putpixel((1, 0), (0, 0, 0, 128))
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([0, 0, 0, 200, 0, 0])
    palette.putpixel((1, 0), 1)
    half.save(tmp_path / "rgba.png")
    half.convert("LA").save(tmp_path / "la.png")
    palette.save(tmp_path / "palette.png", transparency=0)
    palette.save(tmp_path / "palette.gif", transparency=0)
    Image.new("RGB", (2, 1)).save(tmp_path / "key.png", transparency=(0, 0, 0))
    for name, second in {"rgba": (127,) * 3, "la": (127,) * 3, "palette": (200, 0, 0), "key": WHITE}.items():
        assert media.read_image(tmp_path / f"{name}.png").tolist() == [[list(WHITE), list(second)]]
    assert media.read_image(tmp_path / "palette.gif").tolist() == [[list(WHITE), [200, 0, 0]]]


def test_exif_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    frame = np.zeros((2, 3, 3), np.uint8)
    frame[0, 0] = WHITE
    Image.fromarray(frame).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(media.read_image(tmp_path / "turned.png"), np.rot90(frame, -1))


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "tif", "bmp"])
def test_truncated_pictures(tmp_path, suffix):
    path = tmp_path / f"half.{suffix}"
    Image.fromarray(make_media.noise_frames(1, 64, 64)[0]).save(path)
    make_media.truncate(path, 0.5)
    with pytest.raises(UserError, match=rf"half\.{suffix}: "):
        media.read_image(path)


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_animations_are_videos(tmp_path, suffix):
    path = tmp_path / f"100%03d.{suffix}"
    first, *others = map(Image.fromarray, make_media.numbered_frames(6))
    first.save(path, save_all=True, append_images=others, duration=50, lossless=True)
    assert media.kind(path) == "video"
    assert media.probe(path) == (48, 32, 20.0, 6)
    assert make_media.numbers(read(path)) == [0, 1, 2, 3, 4, 5]
    assert make_media.numbers(read(path, [1, 4, 4], size=(10, 20))) == [1, 4, 4]
    assert media.sample_frames(path, 3, (10, 20)).shape == (3, 20, 10, 3)


def test_a_truncated_animation_keeps_its_first_frames(tmp_path):
    path = tmp_path / "half.gif"
    first, *others = map(Image.fromarray, make_media.noise_frames(8))
    first.save(path, save_all=True, append_images=others)
    make_media.truncate(path, 0.6)
    n_frames = media.probe(path).n_frames
    assert 2 <= n_frames <= 5
    assert len(read(path)) == n_frames
    np.testing.assert_array_equal(media.sample_frames(path, 1, (48, 32))[0], read(path)[(n_frames - 1) // 2])


def test_pages_and_views_are_stills(tmp_path):
    first, *others = map(Image.fromarray, make_media.numbered_frames(3))
    first.save(tmp_path / "pages.tif", save_all=True, append_images=others)
    first.save(tmp_path / "views.mpo", save_all=True, append_images=others)
    for name in ("pages.tif", "views.mpo"):
        assert media.kind(tmp_path / name) == "image"
        assert media.read_image(tmp_path / name).max() == 0
