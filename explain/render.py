"""Explanations to files: pictures, videos and numbers. overlay.py draws them."""

import dataclasses
import json
import os
import re
import zlib
from pathlib import Path

import numpy as np
from tqdm import tqdm

from explain import attribution, overlay, page
from system import arrays, files, rows
from system.errors import UserError
from vision import media, writing

GIF_FPS = 10  # at most: a gif of every frame would be huge
MAX_NAME = 80  # letters of the sentence in a file's name
MAX_NAME_BYTES = 230  # of the whole name, without ending: file systems take 255
SHEET_FRAMES = 5  # a word, on a contact sheet
FORMS_OF_VIDEOS, FORMS_OF_IMAGES = ("mp4", "gif", "png", "html", "npz"), ("png", "html", "npz")  # the first: the usual


def forms(is_video):
    """The forms in which a video or an image can be drawn, the usual one first."""
    return FORMS_OF_VIDEOS if is_video else FORMS_OF_IMAGES


def check_form(path, is_video, form):
    """UserError where a medium has no picture of that form."""
    if form not in forms(is_video):
        kind = "a video" if is_video else "an image"
        raise UserError(f"{path} is {kind}, whose picture is {' or '.join(forms(is_video))}, not '{form}'")


def name(explanation):
    """The name of an explanation's files, without ending: the medium, the words, and what is unusual about them.

    As short as a file system wants it, which counts bytes: what is cut off leaves its check sum.
    """
    query = explanation.query
    words = re.sub(r"\W+", "_", query.sentence.lower()).strip("_")
    unusual = "-own" if query.is_own else ""  # another question: equation 5, not 6
    if query.against is not None:
        other = query.against[query.places[0]]
        asked = {query.words[t] for t in query.places}
        one = "" if asked == {*query.words} - {other} else f"{asked.pop()}_"  # of each word, or of one
        unusual += "-" + _cut(re.sub(r"\W+", "_", f"{one}not_{other}"), MAX_NAME_BYTES // 4)
    unusual += "-skip" if query.skipped else "-nearest" if query.read_as else ""
    if explanation.normalization != ("released" if explanation.is_video else "linear"):
        unusual += f"-{explanation.normalization}"
    if explanation.method != attribution.PAPERS:
        unusual += f"-{explanation.method}"
    room = MAX_NAME_BYTES - len(os.fsencode(f"-{unusual}"))
    words = _cut(words, room // 2, MAX_NAME)
    return f"{_cut(media.name(explanation.path), room - len(os.fsencode(words)))}-{words}{unusual}"


def _cut(text, most_bytes, most_letters=None):
    """A part of a file's name, of at most so many bytes; what is longer is cut off, and ends with its check sum."""
    if len(os.fsencode(text)) <= most_bytes and len(text) <= (most_letters or len(text)):
        return text
    end = f"-{zlib.crc32(os.fsencode(text)):08x}"
    return os.fsencode(text[:most_letters])[: most_bytes - len(end)].decode(errors="ignore") + end


def write(explanation, target):
    """Write the picture of an explanation, in the form that the ending of `target` names; `.npz`: its numbers.

    -> the path of the medium that lies beside a large page, else None. UserError where there is no such form of it
    (`forms`), or it cannot be written.
    """
    form = Path(target).suffix.lstrip(".").lower()
    if form == "npz":
        write_numbers(explanation, target)
        return None
    check_form(explanation.path, explanation.is_video, form)
    if form == "html":
        return page.write(explanation, target)
    if form == "png":
        writing.write_image(target, picture(explanation))
    else:
        write_frames(explanation, target)
    return None


def picture(explanation):
    """An explanation as one picture, uint8 [H, W, 3]: of an image a tile a word, of a video the contact sheet."""
    if explanation.is_video:
        return contact_sheet(explanation)
    return layout(explanation).draw(media.read_image(explanation.path), explanation.maps[0])


def layout(explanation):
    """The tiles of an explanation, to be drawn frame by frame -> overlay.Layout."""
    query = explanation.query
    return overlay.Layout(
        explanation.words,
        explanation.height,
        explanation.width,
        explanation.box,
        explanation.curves,
        title=query.title,
        skipped=query.skipped,
        gains=explanation.gain,
    )


def write_frames(explanation, target):
    """Write a video's overlay, frame by frame: an mp4 at its own rate, or a gif of at most GIF_FPS."""
    is_gif = Path(target).suffix.lower() == ".gif"
    tiles = layout(explanation)
    every = max(1, round(explanation.fps / GIF_FPS)) if is_gif else 1
    indices = np.arange(0, len(explanation.maps), every)
    numbered = zip(tqdm(indices, unit="frame", desc="drawing"), _frames(explanation, indices), strict=True)
    pictures = (tiles.draw(frame, explanation.maps[k], cursor=k) for k, frame in numbered)
    write = writing.write_gif if is_gif else writing.write_video
    write(target, pictures, explanation.fps / every)


def _frames(explanation, indices):
    """Generate frames of a video uint8 [h, w, 3], as large as they are to be drawn (media.drawn_size)."""
    size = media.drawn_size(explanation.width, explanation.height)
    for batch in media.read_frames(explanation.path, indices, size):
        yield from batch


def contact_sheet(explanation):
    """For each word the frames of a video in which it is most salient -> uint8 [H, W, 3]."""
    query, maps = explanation.query, explanation.maps
    peaks = np.concatenate([maps[start:stop].max(axis=(2, 3)) for start, stop in rows.spans(maps)])  # [F, T]
    chosen = overlay.most_salient_frames(peaks, SHEET_FRAMES)  # [T, n]
    wanted = np.unique(chosen)
    frames = dict(zip(wanted.tolist(), _frames(explanation, wanted), strict=True))
    times = getattr(explanation.path, "start", 0) + np.arange(len(maps)) / explanation.fps
    return overlay.contact_sheet(
        frames,
        maps,
        explanation.words,
        explanation.curves,
        times,
        chosen,
        title=query.title,
        skipped=query.skipped,
        gains=explanation.gain,
    )


def write_numbers(explanation, target):
    """Write everything, with the captioner's settings, as .npz (no pickle), for those who plot themselves."""
    query, config, maps = explanation.query, explanation.config, explanation.maps
    if dataclasses.is_dataclass(config):
        config = dataclasses.asdict(config)
    members = {
        "sentence": query.sentence,
        "words": explanation.words,
        "skipped": np.array(query.skipped, dtype=str),
        "read_as": np.array(list(query.read_as.items()), dtype=str).reshape(-1, 2),
        "own_caption": query.is_own,
        "log_q": explanation.log_q,
        "grey_log_q": explanation.grey_log_q,
        "raw_maps": explanation.raw_maps,
        "maps": maps if isinstance(maps, rows.Rows) else maps.astype(np.float32),
        "normalization": explanation.normalization,
        "method": explanation.method,
        "picture_size": (explanation.height, explanation.width),
        "box": explanation.box,
        "checkpoint": explanation.checkpoint,
        "config": json.dumps(config),
    }
    if explanation.is_video:
        members |= {"temporal_curves": explanation.curves, "fps": explanation.fps}
        members["start"] = getattr(explanation.path, "start", 0.0)  # seconds
    with files.whole(target) as partial:
        arrays.write_archive(partial, members)
