"""What a file is allowed to be: pictures and containers that hold what they show, whatever their name says."""

import contextlib
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, PngImagePlugin, TiffImagePlugin

from system.errors import UserError
from tests import make_media
from vision import ffmpeg_process, media, pictures

CASES = Path(__file__).parents[3] / "shared/cases"


def png(path, width, height, rows=b"", chunks=(), depth=1):
    """Write a grey PNG of that size and depth from its filtered rows, or a part of them."""
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        header = b"IHDR", struct.pack(">2I5B", width, height, depth, 0, 0, 0, 0)
        for kind, data in (header, *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
            file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
    return path


LISTS = {
    "video0.mp4": "ffconcat version 1.0\nfile {path}\n",
    "plain.txt": "ffconcat version 1.0\nfile {path}\n",
    "x.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{path}\n#EXT-X-ENDLIST\n",
    "video1.mp4": """<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S" minBufferTime="PT1S"
profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet contentType="video" mimeType="video/mp4">
<Representation id="0" bandwidth="1000" width="48" height="32" codecs="avc1.64001f"><BaseURL>{path}</BaseURL>
<SegmentBase indexRange="0-1"/></Representation></AdaptationSet></Period></MPD>""",
    "scene.avs": 'FFVideoSource("{path}")',
    "session.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_other_files_is_not_followed(tmp_path, name):
    clip = make_media.write_video(tmp_path / "secret.mp4", make_media.numbered_frames(3))
    (tmp_path / name).write_text(LISTS[name].format(path=clip))
    for attempt in (media.probe, make_media.read, lambda path: media.sample_frames(path, 4, (8, 8)), media.read_image):
        with pytest.raises(UserError) as caught:
            attempt(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")


@pytest.mark.parametrize("ending", [".eps", ".png", ".mp4"])
def test_postscript_is_not_run(tmp_path, ending, monkeypatch):
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: pytest.fail("a program is run"))
    path = tmp_path / f"x{ending}"
    Image.new("RGB", (20, 10), "red").save(path, format="EPS")
    with pytest.raises(UserError, match="not a picture"):
        media.read_image(path)
    with pytest.raises(UserError):
        media.probe(path)


def test_a_picture_beyond_the_limit_is_refused_before_it_is_decoded(tmp_path):
    path = png(tmp_path / "bomb.png", 60_000, 60_000, depth=8)
    for attempt in (media.kind, media.read_image, media.probe):
        with pytest.raises(UserError, match=r"bomb\.png: 3600\.0 megapixels, but .* at most 220 are read"):
            attempt(path)


@pytest.mark.parametrize("name", ["x.jp2", "x.webp", "x.avif", "x.heic"])
def test_formats_that_take_more_memory_have_a_limit_of_their_own(tmp_path, monkeypatch, name):
    Image.new("RGB", (64, 48)).save(tmp_path / name)
    monkeypatch.setattr(pictures, "FEWER_PIXELS", dict.fromkeys(pictures.FEWER_PIXELS, 64 * 48))
    assert media.read_image(tmp_path / name).shape == (48, 64, 3)
    monkeypatch.setattr(pictures, "FEWER_PIXELS", dict.fromkeys(pictures.FEWER_PIXELS, 64 * 48 - 1))
    with pytest.raises(UserError, match=r"0\.0 megapixels, but of its kind pictures of at most 0 are read"):
        media.read_image(tmp_path / name)


@pytest.mark.parametrize("name, is_slow", [("x.qoi", True), ("x.dds", True), ("p3.ppm", True), ("x.ppm", False)])
def test_what_is_decoded_in_python_is_to_be_smaller(tmp_path, monkeypatch, name, is_slow):
    if name == "p3.ppm":
        (tmp_path / name).write_text("P3 3 2 255\n" + "7 " * 18)
    else:
        Image.new("RGB", (3, 2), (7, 7, 7)).save(tmp_path / name)
    assert (media.read_image(tmp_path / name) == np.full((2, 3, 3), 7)).all()
    monkeypatch.setattr(pictures, "SLOW_PIXELS", 5)
    with pytest.raises(UserError, match="at most 0 are read") if is_slow else contextlib.nullcontext():
        media.kind(tmp_path / name)


@pytest.mark.parametrize("name", ["x.gif", "x.png", "x.webp", "x.avif"])
def test_the_frames_of_a_moving_picture_have_the_limit_of_frames(tmp_path, monkeypatch, name):
    first, second = Image.new("RGB", (40, 30), "red"), Image.new("RGB", (40, 30), "blue")
    first.save(tmp_path / name, save_all=True, append_images=[second])
    first.save(tmp_path / "still.png")
    monkeypatch.setattr(pictures, "REDUCED_PIXELS", 40 * 30 - 1)
    assert media.read_image(tmp_path / "still.png").shape == (15, 20, 3)  # at a half
    for attempt in (media.kind, media.probe):
        with pytest.raises(UserError, match="at most 0 are read"):
            attempt(tmp_path / name)


def test_a_frame_that_is_larger_than_the_first_is_cut_or_not_decoded(tmp_path, monkeypatch):
    """GIF lets a later frame enlarge the picture."""
    small, large = tmp_path / "small.gif", tmp_path / "large.gif"
    Image.new("P", (10, 10)).save(small)
    Image.effect_noise((200, 200), 50).save(large)
    header, descriptor = small.read_bytes(), large.read_bytes()
    # The second picture without its header: from its descriptor (44) on, in the place of the first one's end (59).
    path = tmp_path / "x.gif"
    path.write_bytes(header[:-1] + descriptor[descriptor.index(b"\x2c\0\0\0\0") :])
    assert media.probe(path)[:2] == (10, 10) and media.probe(path).n_frames == 2
    assert next(media.read_frames(path)).shape == (2, 10, 10, 3)
    monkeypatch.setattr(pictures, "REDUCED_PIXELS", 39_999)
    assert media.probe(path).n_frames == 1


def test_a_jpeg_xl_that_is_too_large(tmp_path, monkeypatch):
    """ffmpeg by itself would try for hours."""
    Image.new("RGB", (64, 48), (200, 100, 50)).save(tmp_path / "x.png")
    make_media.run_ffmpeg("-i", tmp_path / "x.png", "-c:v", "libjxl", tmp_path / "x.jxl")
    monkeypatch.setattr(pictures, "REDUCED_PIXELS", 1000)
    image = media.read_image(tmp_path / "x.jxl")  # at a half
    assert image.shape == (24, 32, 3)
    assert abs(image.mean(axis=(0, 1)) - [200, 100, 50]).max() < 3
    monkeypatch.setattr(media, "JPEG_XL_PIXELS", 3000)
    with pytest.raises(UserError, match=r"x\.jxl: 0\.0 megapixels, but .* at most 0 are read"):
        media.read_image(tmp_path / "x.jxl")


def test_ffmpeg_gets_no_more_memory_than_it_may_take(tmp_path, monkeypatch):
    path = tmp_path / "x.mp4"
    make_media.run_ffmpeg("-f", "lavfi", "-i", "testsrc2=1280x720:d=0.2:r=10", path)
    assert len(next(media.read_frames(path))) == 2
    monkeypatch.setattr(ffmpeg_process, "MOST_BYTES", 100 << 20)
    with pytest.raises(UserError, match=r"x\.mp4: ffmpeg cannot decode it with 0\.1 GiB of memory"):
        next(media.read_frames(path))


@pytest.mark.parametrize("mode, white", [("1", 255), ("P", 255), ("L", 255), ("RGBA", 255), ("I;16", 65535)])
def test_a_large_picture_is_read_at_a_part_of_its_size(tmp_path, monkeypatch, mode, white):
    monkeypatch.setattr(pictures, "REDUCED_PIXELS", 1000)
    picture = Image.new("L", (90, 30), 0)
    ImageDraw.Draw(picture).rectangle((0, 0, 44, 29), fill=255)
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture).astype(np.uint16) * 257)
    elif mode == "RGBA":
        picture.putalpha(255)
    else:
        picture = picture.convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    picture.save(tmp_path / "large.png", exif=exif)
    image = media.read_image(tmp_path / "large.png")
    assert image.shape == (45, 15, 3)
    assert (image[:22] == 255).all()
    assert (image[23:] == 0).all()


def test_a_large_jpeg_is_decoded_at_a_part_of_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "REDUCED_PIXELS", 10_000)
    Image.new("RGB", (640, 480), (200, 100, 50)).save(tmp_path / "large.jpg")
    decoded = []
    resize = Image.Image.resize
    monkeypatch.setattr(
        Image.Image, "resize", lambda picture, *rest: decoded.append(picture.size) or resize(picture, *rest)
    )
    image = media.read_image(tmp_path / "large.jpg")  # 307,200 pixels: at a quarter, and that at a half
    assert image.shape == (60, 80, 3)
    assert decoded == [(160, 120)]
    assert abs(image.mean(axis=(0, 1)) - [200, 100, 50]).max() < 3


@pytest.mark.parametrize("side, message", [(64, None), (26_000, "a tile or strip of it takes more than 256 MiB")])
def test_a_tiff_whose_tile_would_fill_the_memory(tmp_path, side, message):
    """Tiles are decoded one by one, each as a whole, whatever part of it is in the picture."""
    path = tmp_path / "x.tif"
    make_media.write_tiled_tiff(path, Image.new("RGB", (64, 64), (1, 2, 3)), side)
    if message is None:
        assert media.read_image(path).reshape(-1, 3).tolist() == [[1, 2, 3]] * 64**2
    else:
        with pytest.raises(UserError, match=message):
            media.read_image(path)


def test_a_tiff_whose_one_strip_is_too_large(tmp_path, monkeypatch):
    picture = Image.new("RGB", (64, 64))
    for name, options in {"one.tif": {278: 64}, "many.tif": {278: 8}}.items():
        picture.save(tmp_path / name, compression="tiff_lzw", tiffinfo=options)
    monkeypatch.setattr(pictures, "MOST_OF_A_TILE", 64 * 64 * 3 - 1)
    assert media.read_image(tmp_path / "many.tif").shape == (64, 64, 3)
    with pytest.raises(UserError, match=r"one\.tif: a tile or strip of it takes more"):
        media.read_image(tmp_path / "one.tif")


@pytest.mark.parametrize("kind", [1, 2, 5, 7, 11])  # bytes, text, ratios, undefined, floats
@pytest.mark.parametrize("tag", [254, 278, 322, 277, 258])
def test_a_tag_of_a_tiff_that_is_no_number(tmp_path, tag, kind):
    path = tmp_path / "x.tif"
    Image.new("RGB", (8, 6), (1, 2, 3)).save(path, compression="tiff_lzw")
    place = tag if tag in (278, 277, 258) else 284
    make_media.change_tags(path, lambda old, *entry: (tag, kind, 1, 1) if old == place else (old, *entry))
    with contextlib.suppress(UserError):
        assert media.read_image(path).shape == (6, 8, 3)


def test_a_jpeg_of_more_scans_than_anybody_writes(tmp_path):
    """Each goes over the whole picture: a few megabytes of them would take hours."""
    path = tmp_path / "x.jpg"
    Image.effect_noise((64, 64), 50).save(path, progressive=True)
    assert media.read_image(path).shape == (64, 64, 3)
    content = path.read_bytes()
    last = content[content.rindex(b"\xff\xda") : -2]
    path.write_bytes(content[:-2] + 100 * last + content[-2:])
    for attempt in (media.kind, media.read_image):
        with pytest.raises(UserError, match=r"x\.jpg: it has more than 100 scans"):
            attempt(path)


def test_what_looks_like_scans_and_is_none(tmp_path):
    """In the film that a phone puts behind a photograph, and in what stands before it."""
    path = tmp_path / "x.jpg"
    Image.effect_noise((64, 64), 50).save(path, comment=b"\xff\xda" * 200)
    path.write_bytes(path.read_bytes() + b"\xff\xda" * 200)
    assert media.read_image(path).shape == (64, 64, 3)


@pytest.mark.parametrize("name", ["x.webp", "x.avif", "x.heic"])
def test_a_file_that_would_be_read_whole_is_not_too_long(tmp_path, monkeypatch, name):
    Image.new("RGB", (64, 48)).save(tmp_path / name)
    monkeypatch.setattr(pictures, "MOST_BYTES", os.path.getsize(tmp_path / name))
    assert media.kind(tmp_path / name) == "image"
    with open(tmp_path / name, "ab") as file:
        file.write(b"\0")
    with pytest.raises(UserError, match="not a picture that can be read"):
        media.read_image(tmp_path / name)


def test_sixteen_bits_with_a_transparent_value_at_a_part_of_the_size(tmp_path, monkeypatch):
    values = np.repeat(np.linspace(0, 58_000, 40).astype(np.uint16)[None], 30, axis=0)
    Image.fromarray(values).save(tmp_path / "x.png", transparency=7)
    whole = media.read_image(tmp_path / "x.png")
    monkeypatch.setattr(pictures, "REDUCED_PIXELS", 30 * 40 // 4)
    halves = whole.reshape(15, 2, 20, 2, 3).mean(axis=(1, 3))
    assert abs(media.read_image(tmp_path / "x.png") - halves).max() <= 1


def test_a_very_long_still_has_a_row_left(tmp_path, monkeypatch):
    Image.new("RGB", (500, 1), (1, 2, 3)).save(tmp_path / "x.png")
    monkeypatch.setattr(pictures, "REDUCED_PIXELS", 100)
    assert media.read_image(tmp_path / "x.png").tolist() == [[[1, 2, 3]] * 166]


def test_a_png_with_much_text(tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", "node " * 1_000_000, zip=True)
    Image.new("RGB", (20, 10), "red").save(tmp_path / "x.png", pnginfo=info)
    assert media.read_image(tmp_path / "x.png").mean(axis=(0, 1)).tolist() == [255, 0, 0]


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_bits_in_sixteen(tmp_path, bits):
    values = np.linspace(0, 2**bits - 1, 256).round().astype(np.uint16)[None]
    Image.fromarray(values).save(tmp_path / "x.png")
    assert abs(media.read_image(tmp_path / "x.png")[0, :, 0] - np.arange(256.0)).max() <= 1


@pytest.mark.parametrize("tag, value", [(254, 1), (50706, b"\1\4\0\0")])
def test_the_preview_in_a_raw_photograph_is_not_taken_for_it(tmp_path, tag, value):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[tag] = value
    if isinstance(value, bytes):
        tags.tagtype[tag] = 1  # bytes
    Image.new("RGB", (16, 10)).save(tmp_path / "x.dng", format="TIFF", tiffinfo=tags)
    for attempt in (media.kind, media.read_image):
        with pytest.raises(UserError, match=r"x\.dng: a raw photograph, .* preview of 16 x 10"):
            attempt(tmp_path / "x.dng")


def test_stills_of_phones_are_pictures(tmp_path):
    picture = Image.new("RGB", (64, 48), "red")
    picture.paste("blue", (32, 0, 64, 48))
    picture.save(tmp_path / "x.heic", format="HEIF", quality=90)
    picture.save(tmp_path / "x.png")
    make_media.run_ffmpeg("-i", tmp_path / "x.png", "-c:v", "libjxl", "-distance", "0", tmp_path / "x.jxl")
    for name in ("x.heic", "x.jxl"):
        (tmp_path / name).rename(tmp_path / "renamed.mp4")
        assert media.kind(tmp_path / "renamed.mp4") == "image"
        image = media.read_image(tmp_path / "renamed.mp4")
        assert abs(image[:, 2:30].mean(axis=(0, 1)) - [255, 0, 0]).max() < 6
        assert abs(image[:, 34:62].mean(axis=(0, 1)) - [0, 0, 255]).max() < 6


def gray_hdr(path, transfer, level):
    """A clip of one gray, `level` (0 to 1) in that transfer function, as a phone stores it."""
    parameters = f"setparams=color_primaries=bt2020:color_trc={transfer}:colorspace=bt2020nc:range=tv"
    luma = round(64 + level * (940 - 64))
    source = f"color=s=64x64:r=5:d=0.6,format=yuv420p10le,geq=lum={luma}:cb=512:cr=512,{parameters}"
    make_media.run_ffmpeg("-f", "lavfi", "-i", source, "-c:v", "libx265", "-x265-params", "log-level=none", path)
    return path


@pytest.mark.parametrize("transfer, white", [("smpte2084", 0.58), ("arib-std-b67", 0.75)])
def test_high_dynamic_range_is_brought_to_the_usual_one(tmp_path, transfer, white):
    """What both standards call white (203 cd/m2) is bright, half of that light is what half is in sRGB, about 188."""
    frames = media.sample_frames(gray_hdr(tmp_path / "white.mp4", transfer, white), 2, (32, 32))
    assert frames.mean() > 215
    bt709 = media.sample_frames(gray_hdr(tmp_path / "usual.mp4", "bt709", white), 2, (32, 32))
    assert abs(bt709.mean() - 255 * white) < 2


@pytest.mark.skipif(not CASES.is_dir(), reason="needs the cases in ../shared")
def test_the_cases():
    """The same photograph as a phone stores it, in HDR, and in 12 bits."""
    whole = media.read_image(CASES / "iphone_grid.heic")  # six tiles
    assert whole.shape == (482, 748, 3)
    small = np.asarray(Image.fromarray(whole).resize((320, 216)), float)
    hdr = media.sample_frames(CASES / "hdr_pq.mp4", 1, (320, 216))[0]
    assert abs(small - hdr).mean() < 12
    assert abs(small.mean(axis=2) - media.read_image(CASES / "gray12in16.png")[..., 0]).mean() < 12
    assert media.read_image(CASES / "comfy_meta.png").shape == (160, 237, 3)
    assert media.read_image(CASES / "mp108.png").shape == (4500, 6000, 3)
    assert media.read_image(CASES / "mp200.png").shape == (4080, 5440, 3)
    with pytest.raises(UserError, match="raw photograph"):
        media.read_image(CASES / "raw_thumb.dng")
