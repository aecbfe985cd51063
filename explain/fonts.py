"""Fonts for whatever captions are written in: matplotlib's DejaVu, and for letters that it lacks the system's.

DejaVu has Latin, Greek, Cyrillic, Arabic and more; Chinese, Hindi or Thai need a font that is installed, such as Noto.
"""

import functools
from pathlib import Path

from PIL import ImageFont

MOST_LETTERS = 2000  # of a text that is measured: more fit into no picture


@functools.cache
def _letters(path):
    """The code points that a font file has; none where it cannot be read."""
    from matplotlib import ft2font

    try:
        return frozenset(ft2font.FT2Font(path).get_charmap())
    except Exception:  # a damaged font, or of a format that FreeType's wrapper does not take
        return frozenset()


def _dejavu(bold):
    import matplotlib

    return str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"))


@functools.cache
def _system_fonts():
    from matplotlib import font_manager

    return sorted(font_manager.findSystemFonts())


@functools.cache
def _best_file(letters, bold):
    """The font file that has most of some letters (a frozenset of code points), DejaVu where none has more."""
    best = _dejavu(bold)
    if letters <= _letters(best):
        return best
    return max([best, *_system_fonts()], key=lambda path: len(letters & _letters(path)))


def _needed(text):
    return frozenset(ord(letter) for letter in text[:MOST_LETTERS] if not letter.isspace())


@functools.cache
def _load(path, size):
    return ImageFont.truetype(path, size)


def font(size, text, bold=False):
    """The font in which to draw `text`, of so many pixels (Pillow's ImageFont)."""
    try:
        return _load(_best_file(_needed(text), bold), size)
    except OSError:  # of pictures in one size, as emoji have them
        return _load(_dejavu(bold), size)


def missing(text):
    """The letters of `text` that no font on this system has, each once: they are drawn as empty boxes."""
    lacking = _needed(text) - _letters(_best_file(_needed(text), False))
    return "".join(letter for letter in dict.fromkeys(text) if ord(letter) in lacking)


def shorten(text, size, width, bold=False):
    """`text`, with its end replaced by an ellipsis where it is wider than `width` pixels."""
    face = font(size, text, bold)
    if len(text) <= MOST_LETTERS and face.getlength(text) <= width:
        return text
    fits, too_long = 0, min(len(text), MOST_LETTERS)  # letters: by halves, as each measurement takes its time
    while fits + 1 < too_long:
        middle = (fits + too_long) // 2
        if face.getlength(text[:middle] + "…") <= width:
            fits = middle
        else:
            too_long = middle
    return text[:fits] + "…"


def wrap(text, size, width, most_lines):
    """The lines, each at most `width` pixels wide, into which `text` falls between its words; at most `most_lines`."""
    lines, face = [], font(size, text)
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and len(longer) <= MOST_LETTERS and face.getlength(longer) <= width:
            lines[-1] = longer
        elif len(lines) == most_lines:
            lines[-1] = shorten(f"{lines[-1]} {word}", size, width)
            break
        else:
            lines.append(shorten(word, size, width))
    return lines
