"""An explanation as a page that one asks: hover a word, move over the picture, walk through time. One file, offline.

Everything is in the file: the medium, re-encoded for browsers, the maps as bytes, and the page's style and scripts. A
Content-Security-Policy lets nothing else in; what came from outside (sentence, names) is data there, never markup.
"""

import base64
import hashlib
import html
import io
import json
import os
import re
import tempfile
import zlib
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image

from explain import overlay
from system import files
from system.errors import UserError
from vision import media, writing

FOLDER = Path(__file__).resolve().parent
SCRIPTS = ("heat.js", "page.js")
MOST_SIDE = {True: 640, False: 1280}  # pixels of a video, and of an image, in the page
QUALITY = 85  # of the image, as JPEG
COLOUR_MAPS = ("turbo", "viridis", "magma")  # the overlay's own, and two that the colour-blind can read
DIFFERENCE = "bwr"
MOST_FRAMES = 10_000  # of a video: some five minutes
LARGEST = 10 << 20  # bytes of a page; the medium of a larger one lies beside it


def write(explanation, target):
    """Write the page of an explanation, and beside a page of more than LARGEST its medium -> the latter's path or None.

    UserError where they cannot be written.
    """
    target, medium = Path(target), encoded(explanation)
    text, beside = text_of(explanation, medium), None
    if len(text) > LARGEST:
        beside = target.with_name(f"{target.stem}.media{'.mp4' if explanation.is_video else '.jpg'}")
        text = text_of(explanation, medium, beside.name)
        with files.whole(beside) as partial:
            Path(partial).write_bytes(medium)
    files.write_text(target, text)
    return beside


def text_of(explanation, medium=None, source=None):
    """The page as text, also by the methods and normalizations of `explanation.also`.

    medium: as `encoded` gives it; source: the name of its file, where it is not to be in the page.
    """
    content = about(explanation)
    blobs = {f"maps-{k}": text for k, text in enumerate(maps(explanation))}
    if source is None:
        blobs["medium"] = base64.b64encode(encoded(explanation) if medium is None else medium).decode()
    else:
        content["source"] = quote(os.fsencode(source))
    return document(content, blobs, "blob:" if source is None else "'self' file:")


def frame(explanation):
    """The page as a notebook shows it: an element that holds all of it."""
    return (
        f'<iframe srcdoc="{html.escape(text_of(explanation))}" style="width: 100%; height: 48rem; border: 0" '
        'sandbox="allow-scripts" title="Which parts of it say which word?"></iframe>'
    )


def document(content=None, blobs=(), source="blob:", live="", scripts=(), connect="'none'"):
    """A page as text. content: what it shows, as JSON; blobs: what that speaks of, by name, in base64.

    source: where its medium may come from; connect: what it may ask. live: HTML, and scripts of the page that is alive.
    """
    style, script = (_assets(*names) for names in (["page.css"], [*SCRIPTS, *scripts]))
    allowed = {"default": "'none'", "script": source_hash(script), "style": source_hash(style), "connect": connect}
    allowed |= {"img": source, "media": source}
    policy = [f"{kind}-src {value}" for kind, value in allowed.items()] + ["base-uri 'none'", "form-action 'none'"]
    blobs = {"colours": base64.b64encode(colours()).decode(), **dict(blobs)}
    data = [f'<script type="text/plain" id="blob-{name}">{text}</script>' for name, text in blobs.items()]
    if content is not None:
        data.append(f'<script type="application/json" id="data">{_json(content)}</script>')
    parts = {
        "policy": "; ".join(policy),
        "style": style,
        "script": script,
        "data": "\n".join(data),
        "live": _assets(live) if live else "",
    }
    return re.sub(r"\[\[(\w+)\]\]", lambda place: parts[place[1]], _assets("page.html"))


def _assets(*names):
    return "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in names)


def source_hash(text):
    """What a Content-Security-Policy calls an inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _json(value):
    """JSON that can stand in a script element: no text in it can end that."""
    return json.dumps(value).replace("<", "\\u003c")


def check_length(path, n_frames):
    """UserError where a video has more frames than a page can show."""
    if n_frames > MOST_FRAMES:
        raise UserError(
            f"{path} has {n_frames} frames, more than the {MOST_FRAMES} of a page: take a part of it (--start, --end), "
            "or fewer frames (--every)"
        )


def about(explanation):
    """All that the page says of an explanation, but for pictures and maps: dict of JSON. UserError of a film."""
    check_length(explanation.path, len(explanation.raw_maps))
    query, (height, width) = explanation.query, (explanation.height, explanation.width)
    top, left, bottom, right = explanation.box
    return {
        "sentence": query.sentence,
        "is_own": query.is_own,
        "is_contrast": query.against is not None,
        "notes": query.notes,
        "words": explanation.words,
        "log_q": np.round(explanation.log_q.astype(float), 3).tolist(),
        "gain": np.round(explanation.gain.astype(float), 3).tolist(),
        "full_bar": overlay.FULL_BAR,
        "medium": explanation.path.name,
        "is_video": explanation.is_video,
        "kind": kind(explanation.is_video),
        "size": [width, height],
        "box": [top / height, left / width, bottom / height, right / width],
        "fps": explanation.fps,
        "colour_maps": [*COLOUR_MAPS, DIFFERENCE],
        "views": [_view(one) for one in (explanation, *explanation.also)],
    }


def _view(explanation):
    """What the page says of the maps of one method; low, high [T]: the range of each word's raw maps."""
    raw = np.asarray(explanation.raw_maps)
    view = {
        "method": explanation.method,
        "normalization": explanation.normalization,
        "shape": list(raw.shape),
        "low": raw.min(axis=(0, 2, 3)).astype(float).tolist(),
        "high": raw.max(axis=(0, 2, 3)).astype(float).tolist(),
    }
    if explanation.is_video:
        view["curves"] = [[float(f"{value:.9g}") for value in row] for row in explanation.curves]  # as exact as float32
    return view


def maps(explanation):
    """The maps of each view (`about`), deflated, in base64 -> list."""
    views = (map_bytes(one) for one in (explanation, *explanation.also))
    return [base64.b64encode(zlib.compress(content)).decode() for content in views]


def map_bytes(explanation):
    """The maps as bytes [F, T, Gy, Gx], 255 is 1; then the raw ones of 16 bits between each word's extremes."""
    raw = np.asarray(explanation.raw_maps)
    low, high = (edge(raw, axis=(0, 2, 3), keepdims=True) for edge in (np.min, np.max))
    scaled = (raw - low) / np.where(high > low, high - low, 1)
    levels = np.rint(255 * np.clip(explanation.maps, 0, 1)).astype(np.uint8)
    return levels.tobytes() + np.rint(65535 * scaled).astype("<u2").tobytes()


def colours():
    """The colour maps as bytes [maps, 256, 3]: COLOUR_MAPS without dark ends, as in the overlay, and DIFFERENCE."""
    from matplotlib import colormaps

    levels = np.linspace(0, 1, 256)
    places = [0.1 + 0.8 * levels] * len(COLOUR_MAPS) + [levels]
    rows = [255 * colormaps[name](at)[:, :3] for name, at in zip((*COLOUR_MAPS, DIFFERENCE), places, strict=True)]
    return np.round(rows).astype(np.uint8).tobytes()


def kind(is_video):
    """What browsers call the content of `encoded`."""
    return "video/mp4" if is_video else "image/jpeg"


def encoded(medium, progress=lambda done, total: None):
    """The content of a file that browsers show, not larger than MOST_SIDE.

    medium: anything with the path, height, width, is_video and fps of one, and where `progress` is to be called with
    the number of frames that are done and that of all, their number, n_frames.
    """
    scale = min(1, MOST_SIDE[medium.is_video] / max(medium.height, medium.width))
    size = tuple(max(2, round(side * scale / 2) * 2) for side in (medium.width, medium.height))
    if medium.is_video:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "clip.mp4")
            writing.write_video(path, _frames(medium, size, progress), medium.fps)
            return path.read_bytes()
    content = io.BytesIO()
    picture = Image.fromarray(media.read_image(medium.path)).resize(size, Image.Resampling.LANCZOS)
    picture.save(content, "JPEG", quality=QUALITY)
    return content.getvalue()


def _frames(video, size, progress):
    """Generate the frames of a video, uint8 [h, w, 3], of a size (width, height)."""
    n_done = 0
    for batch in media.read_frames(video.path, size=size):
        yield from batch
        n_done += len(batch)
        progress(n_done, getattr(video, "n_frames", n_done))
