"""Picture files to uint8 arrays by Pillow, whatever their format, mode or orientation; stills and moving ones."""

import itertools
import os

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from system.errors import UserError

# Formats whose further pictures are moments in time; those of a TIFF, MPO or PSD are pages, views or layers.
MOVING_FORMATS = ("GIF", "WEBP", "PNG", "AVIF", "FLI")


def open_picture(path):
    """Open a file with Pillow -> the picture, to be closed by the caller, or None where the file is no picture.

    UserError where the file is missing, a folder, empty, or a picture broken from its very start.
    """
    if os.path.isdir(path):
        raise UserError(f"{path}: is a folder, not a media file")
    try:
        empty = os.path.getsize(path) == 0
        picture = None if empty else Image.open(path)
    except UnidentifiedImageError:
        return None
    except Exception as error:  # Pillow's parsers raise whatever they trip over
        raise UserError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    if empty:
        raise UserError(f"{path}: the file is empty")
    if picture.format == "MPEG":  # a video, of which Pillow knows no more than the size
        picture.close()
        return None
    return picture


def moves(picture):
    """Whether an open picture is an animation."""
    try:
        return picture.format in MOVING_FORMATS and getattr(picture, "is_animated", False)
    except Exception:  # a second frame begins, and is broken
        return True


def frames(path, picture):
    """Generate the frames of an open picture, uint8 [h, w, 3], and close it: one frame of a still.

    The frames before a defect are good: UserError only where the first one is broken or truncated.
    """
    with picture:
        for k in itertools.count() if moves(picture) else [0]:
            try:
                picture.seek(k)
                frame = rgb(ImageOps.exif_transpose(picture))
            except Exception as error:  # EOFError after the last frame, and anything in a broken one
                if k > 0:
                    return
                raise UserError(f"{path}: broken picture ({error})") from error
            yield frame


def rgb(picture):
    """A Pillow picture of any mode -> uint8 [h, w, 3], transparency on white, more than 8 bits scaled to 8."""
    if picture.mode.startswith("I") or picture.mode == "F":  # integers of 16 or 32 bits, or floats
        values = np.nan_to_num(np.asarray(picture, np.float64)).clip(0)  # [h, w]
        # Only 16 bits say what white is. For the others it is the first usual value that none exceeds.
        usual = (1, 255, 65535) if picture.mode == "F" else (65535,)
        white = next((value for value in usual if values.max() <= value), values.max())
        gray = np.rint(values * (255 / white)).astype(np.uint8)  # [h, w]
        return np.repeat(gray[..., None], 3, axis=-1)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.array(picture.convert("RGB"))
