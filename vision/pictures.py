"""Picture files to arrays by Pillow, whatever their format, mode or orientation: stills, moving ones, numbered ones.

What a picture may ask of the machine is bounded: formats that run programs (PostScript) are not opened at all, one of
more than MAX_PIXELS is refused before it is decoded, of some formats of fewer, and one of more than REDUCED_PIXELS is
read at a half, a third ...
"""

import itertools
import math
import os
import re
import warnings
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from system.errors import UserError

pillow_heif.register_heif_opener()

FORMATS = (
    *("AVIF", "BMP", "DDS", "DIB", "FLI", "GIF", "HEIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "PSD", "QOI"),
    *("SGI", "TGA", "TIFF", "WEBP"),
)
DNG_VERSION, SUBFILE_TYPE, THUMBNAIL = 50706, 254, 1  # tags of TIFF, and the bit of a reduced version of a picture
READ_WHOLE, MOST_BYTES = ("AVIF", "HEIF", "WEBP"), 300 << 20  # formats whose file is read as a whole; of such a file
MOST_SCANS = 100  # of a JPEG: usual ones have some ten, and each goes over the whole picture
JPEG_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")  # not what stands for 0xff in a scan, nor a restart of one
START_OF_SCAN, END_OF_JPEG = b"\xda", b"\xd9"
TILE_SIDES, STRIP_HEIGHT, SAMPLES, BITS = (322, 323), 278, 277, 258  # tags of TIFF
MOST_OF_A_TILE = 256 << 20  # bytes of a tile or strip, which is in memory as a whole
MAX_PIXELS = 220_000_000  # phones take 200 megapixels; Pillow needs four bytes for each
# Fewer where the decoder has the picture in memory several times over, so that all keep to some 1.4 GiB, also those in
# full colour and with transparency.
FEWER_PIXELS = {"AVIF": 100_000_000, "HEIF": 100_000_000, "WEBP": 80_000_000, "JPEG2000": 60_000_000}
REDUCED_PIXELS = 40_000_000  # 8K and most cameras have fewer; a moving picture has no more
SLOW_PIXELS = 20_000_000  # what Pillow's decoders in Python get through in a minute
BAND = 256  # rows of a picture that is being reduced, at once
# For pictures of another size than the file says first. Pillow refuses twice as many, and warns of fewer, in its words.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2
warnings.simplefilter("ignore", Image.DecompressionBombWarning)
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY  # 64 MB: programs keep their whole settings in a PNG

# Formats whose further pictures are moments in time; those of a TIFF, MPO or PSD are pages, views or layers.
MOVING_FORMATS = ("GIF", "WEBP", "PNG", "AVIF", "FLI")
FRAME_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".avif", ".ppm", ".pgm")  # in a folder


def open_picture(path):
    """Open a file with Pillow -> the picture, to be closed by the caller, or None where the file is no picture.

    UserError where the file is missing, a folder, empty, too large, or a picture broken from its very start.
    """
    if os.path.isdir(path):
        raise UserError(f"{path}: is a folder, not a picture")
    try:
        n_bytes = os.path.getsize(path)
        formats = FORMATS if n_bytes <= MOST_BYTES else [one for one in FORMATS if one not in READ_WHOLE]
        picture = Image.open(path, formats=formats) if n_bytes else None
        refusal = _refusal(picture) if picture else "the file is empty"
    except UnidentifiedImageError:
        return None
    except Image.DecompressionBombError as error:  # "Image size (225000000 pixels) exceeds ..."
        raise UserError(f"{path}: {too_large(int(re.search('[0-9]+', str(error))[0]), MAX_PIXELS)}") from None
    except Exception as error:  # Pillow's parsers raise whatever they trip over
        raise UserError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    if refusal:
        if picture:
            picture.close()
        raise UserError(f"{path}: {refusal}")
    return picture


def _refusal(picture):
    """Why an open picture is not to be read, or None."""
    n_pixels, most = math.prod(picture.size), FEWER_PIXELS.get(picture.format, MAX_PIXELS)
    if any(tile[0] in Image.DECODERS for tile in picture.tile):  # in Python
        most = min(most, SLOW_PIXELS)
    if n_pixels > REDUCED_PIXELS and moves(picture):
        most = min(most, REDUCED_PIXELS)
    if n_pixels > most:
        return too_large(n_pixels, most)
    if picture.format in ("JPEG", "MPO") and _n_scans(picture) > MOST_SCANS:
        return f"it has more than {MOST_SCANS} scans, and would take hours to decode"
    if picture.format == "TIFF" and _tile_bytes(picture) > MOST_OF_A_TILE:
        return f"a tile or strip of it takes more than {MOST_OF_A_TILE >> 20} MiB"
    if picture.format == "TIFF" and (DNG_VERSION in picture.tag_v2 or _number(picture, SUBFILE_TYPE) & THUMBNAIL):
        preview = "{} x {}".format(*picture.size)
        return f"a raw photograph, of which only a preview of {preview} can be read: develop it to a JPEG first"
    return None


def _n_scans(picture):
    """How many scans an open JPEG has up to its end, behind which phones put whole films; no more than one too many."""
    with open(picture.filename, "rb") as file:
        content = file.read()
    at, n_scans = 2, 0
    while n_scans <= MOST_SCANS and (marker := JPEG_MARKER.search(content, at)) and marker[1] != END_OF_JPEG:
        n_scans += marker[1] == START_OF_SCAN
        at = marker.end() + int.from_bytes(content[marker.end() : marker.end() + 2], "big")  # past what it announces
    return n_scans


def _number(picture, tag, default=0):
    """An integer among the tags of an open TIFF, of several the greatest."""
    found = picture.tag_v2.get(tag, default)
    numbers = [one for one in (found if isinstance(found, tuple) else [found]) if isinstance(one, int)]
    return max(numbers, default=default)


def _tile_bytes(picture):
    """What a tile of an open TIFF, or a strip, takes that libtiff decodes."""
    if not any(tile[0] == "libtiff" for tile in picture.tile):
        return 0
    width, height = (_number(picture, tag) for tag in TILE_SIDES)
    if not width * height:
        width, height = picture.size
        height = min(height, _number(picture, STRIP_HEIGHT, height))
    return width * height * _number(picture, SAMPLES, 1) * _number(picture, BITS, 1) / 8


def too_large(n_pixels, most):
    """What is said of a picture of more than `most` pixels."""
    megapixels, at_most = n_pixels / 10**6, most // 10**6
    return f"{megapixels:.1f} megapixels, but of its kind pictures of at most {at_most} are read: make a smaller copy"


def moves(picture):
    """Whether an open picture is an animation."""
    try:
        return picture.format in MOVING_FORMATS and getattr(picture, "is_animated", False)
    except Exception:  # a second frame begins, and is broken
        return True


def rgb(picture):
    """A Pillow picture of any mode -> uint8 [h, w, 3], transparency on white, more than 8 bits scaled to 8."""
    if picture.mode.startswith("I") or picture.mode == "F":  # integers of 16 or 32 bits, or floats
        values = np.array(picture, np.float64 if picture.mode == "I" else np.float32)  # [h, w]
        np.maximum(np.nan_to_num(values, copy=False), 0, out=values)
        # What white is nobody says: 10 to 14 bits come in 16 as well. It is the first usual value that none exceeds.
        usual = (1, 255, 65535) if picture.mode == "F" else (1023, 4095, 16383, 65535)
        white = next((value for value in usual if values.max() <= value), values.max())
        values *= 255 / white
        gray = np.rint(values, out=values).astype(np.uint8)  # [h, w]
        return np.repeat(gray[..., None], 3, axis=-1)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.array(picture.convert("RGB"))


def above_zero(picture):
    """A mask as a Pillow picture of any mode -> bool [h, w]: where its value, or one of its colours, is above 0."""
    is_gray = picture.mode in ("1", "L", "F") or picture.mode.startswith("I")
    values = np.asarray(picture if is_gray else picture.convert("RGB"))  # [h, w] or [h, w, 3]
    return (np.atleast_3d(values) > 0).any(axis=-1)


def read(path, to_array=rgb):
    """Read a picture, of a moving one the first frame -> uint8 [h, w, 3], or what `to_array` makes of it.

    UserError where the file is no picture, broken or truncated.
    """
    picture = open_picture(path)
    if picture is None:
        raise UserError(f"{path}: not a picture that can be read")
    return next(frames(path, picture, to_array))


def frames(path, picture, to_array=rgb):
    """Generate the frames of an open picture, each by `to_array` (default: `rgb`), and close it: one of a still.

    The frames before a defect are good: UserError only where the first one is broken or truncated. What a later one of
    a GIF has beyond the first is left out.
    """
    height = width = None
    with picture:
        for k in itertools.count() if moves(picture) else [0]:
            try:
                picture.seek(k)
                if k and _refusal(picture):  # a frame can be larger than the first
                    return
                frame = to_array(ImageOps.exif_transpose(_reduced(picture)))
            except Exception as error:  # EOFError after the last frame, and anything in a broken one
                if k > 0:
                    return
                raise UserError(f"{path}: broken picture ({error})") from error
            height, width = (height, width) if k else frame.shape[:2]
            yield frame[:height, :width]


def reduction(width, height, most=None):
    """By how much a picture is to be reduced to have at most so many pixels (REDUCED_PIXELS by default): 1, 2, 3 ..."""
    return max(math.ceil(math.sqrt(width * height / (most or REDUCED_PIXELS))), 1)


def _reduced(picture):
    """A picture as it is, or, of more than REDUCED_PIXELS, the mean of its blocks of 2 x 2, 3 x 3 ... pixels."""
    factor = reduction(*picture.size)
    if factor == 1:
        return picture
    exif = picture.getexif()  # with the orientation
    picture.draft(picture.mode, tuple(side // factor for side in picture.size))  # a JPEG is decoded at 1/2, 1/4 or 1/8
    factor = reduction(*picture.size)
    width, height = (max(side // factor, 1) for side in picture.size)
    small = None
    for top in range(0, height, BAND):  # by bands, since Pillow copies what has a palette or is transparent
        rows = min(BAND, height - top)
        right, bottom = min(factor * width, picture.width), min(factor * (top + rows), picture.height)
        band = picture.crop((0, factor * top, right, bottom))
        if band.has_transparency_data and band.mode[0] not in "IF":
            band = band.convert("RGBA")
        elif band.mode in ("1", "P"):
            band = band.convert("L" if band.mode == "1" else "RGB")
        band = band.resize((width, rows), Image.Resampling.BOX)
        small = small or Image.new(band.mode, (width, height))
        small.paste(band, (0, top))
    small.info["exif"] = exif.tobytes()
    return small


# A folder of numbered pictures: the frames of a clip, or its masks


def frame_files(folder):
    """The numbered pictures in a folder, in the order of the numbers in their names: 2 before 10 -> list of Path.

    UserError where there is none, where one has no number, and where they have several endings.
    """
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.is_file() and not entry.name.startswith(".")]
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}") from error
    endings = {name: ending for name in names if (ending := Path(name).suffix.lower()) in FRAME_ENDINGS}
    if not endings:
        raise UserError(f"{folder}: a folder without pictures; of a clip it holds the frames: 00000.jpg, 00001.jpg ...")
    if len(set(endings.values())) > 1:
        found = ", ".join(sorted(set(endings.values())))
        raise UserError(f"{folder}: pictures of several endings ({found}); the frames of a clip have one")
    # [text, number, text, ...]: a name's parts are compared one after the other.
    parts = {name: re.split(r"([0-9]+)", Path(name).stem) for name in endings}
    odd = next((name for name, found in sorted(parts.items()) if len(found) == 1), None)
    if odd is not None:
        raise UserError(f"{folder}: '{odd}' has no number in its name, by which it would have a place among the frames")
    keys = {name: [int(part) if k % 2 else part for k, part in enumerate(found)] for name, found in parts.items()}
    return [Path(folder, name) for name in sorted(keys, key=lambda name: (keys[name], name))]


def is_clip(folder):
    """Whether the files in a folder are the frames of a clip: pictures of one size whose names differ by a number."""
    try:
        frames = frame_files(folder)
    except UserError:
        return False
    names = {re.sub(r"[0-9]+", "0", frame.name) for frame in frames}
    n_files = sum(entry.is_file() and not entry.name.startswith(".") for entry in os.scandir(folder))
    return len(names) == 1 and len(frames) == n_files and len({_size(frame) for frame in frames}) == 1


def _size(path):
    """(width, height) of a picture, None where it is none."""
    picture = open_picture(path)
    if picture is None:
        return None
    with picture:
        return picture.size


def frames_of_folder(folder, wanted=None, to_array=rgb):
    """Generate (k, frame) of a folder's numbered pictures, all or those `wanted` (ascending), each read in its turn.

    UserError as for `frame_files`, and where one cannot be read or has another size than the one that came first.
    """
    paths, first = frame_files(folder), None
    for k in range(len(paths)) if wanted is None else wanted:
        if k >= len(paths):
            return
        frame = read(paths[k], to_array)
        first = (paths[k].name, frame.shape) if first is None else first
        if frame.shape != first[1]:
            (height, width), (high, wide) = frame.shape[:2], first[1][:2]
            raise UserError(
                f"{paths[k]}: {width} x {height} pixels, but {first[0]} has {wide} x {high}; the frames of a clip have "
                "one size"
            )
        yield k, frame
