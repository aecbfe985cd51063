"""An explanation as a page that one asks: hover a word, move over the picture, walk through time. One file, offline.

Everything is in the file: the medium, re-encoded for browsers, the maps as bytes, and page.css and page.js. A
Content-Security-Policy lets nothing else in; what came from outside (sentence, names) is data there, never markup.
"""

import base64
import hashlib
import io
import json
import re
import tempfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from explain import overlay
from system import files
from system.errors import UserError
from vision import media

FOLDER = Path(__file__).resolve().parent
MOST_SIDE = {True: 640, False: 1280}  # pixels of a video, and of an image, in the page
QUALITY = 85  # of the image, as JPEG
COLOUR_MAPS = ("turbo", "viridis", "magma")  # the overlay's own, and two that the colour-blind can read
DIFFERENCE = "coolwarm"
LARGEST = 10 << 20  # bytes of a page


def write(explanations, target):
    """Write the page of explanations of one query over one medium, by one or several methods.

    UserError where it cannot be written, or would be larger than LARGEST.
    """
    text = html(explanations)
    if len(text) > LARGEST:
        raise UserError(f"{target}: the page would have {len(text) >> 20} MiB; take a shorter clip or fewer words")
    files.write_text(target, text)


def html(explanations):
    """The page as text: explanations of one query over one medium, one for each of several methods."""
    style, script = (_asset(name) for name in ("page.css", "page.js"))
    allowed = {"default": "'none'", "script": _hash(script), "style": _hash(style), "img": "blob:", "media": "blob:"}
    policy = [f"{kind}-src {source}" for kind, source in allowed.items()] + ["base-uri 'none'", "form-action 'none'"]
    kind, encoded = _medium(explanations[0])
    blobs = {"medium": encoded, "colours": colours()}
    blobs |= {f"maps-{k}": zlib.compress(map_bytes(one)) for k, one in enumerate(explanations)}
    parts = {
        "policy": "; ".join(policy),
        "style": style,
        "script": script,
        "data": _json({**about(explanations), "kind": kind}),
        "blobs": "\n".join(
            f'<script type="text/plain" id="blob-{name}">{base64.b64encode(content).decode()}</script>'
            for name, content in blobs.items()
        ),
    }
    return re.sub(r"\[\[(\w+)\]\]", lambda place: parts[place[1]], _asset("page.html"))


def _asset(name):
    return (FOLDER / name).read_text(encoding="utf-8")


def _hash(text):
    """What a Content-Security-Policy calls an inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _json(value):
    """JSON that can stand in a script element: no text in it can end that."""
    return json.dumps(value).replace("<", "\\u003c")


def about(explanations):
    """All that the page says, but for pictures and maps: dict of JSON."""
    first = explanations[0]
    query, (height, width) = first.query, (first.height, first.width)
    top, left, bottom, right = first.box
    return {
        "sentence": query.sentence,
        "is_own": query.is_own,
        "skipped": query.skipped,
        "read_as": query.read_as,
        "words": first.words,
        "log_q": np.round(first.log_q.astype(float), 3).tolist(),
        "gain": np.round(first.gain.astype(float), 3).tolist(),
        "full_bar": overlay.FULL_BAR,
        "medium": first.path.name,
        "is_video": first.is_video,
        "size": [width, height],
        "box": [top / height, left / width, bottom / height, right / width],
        "fps": first.fps,
        "opacity": overlay.OPACITY,
        "colour_maps": [*COLOUR_MAPS, DIFFERENCE],
        "views": [_view(one) for one in explanations],
    }


def _view(explanation):
    """What the page says of the maps of one method; low, high [T]: the range of each word's raw maps."""
    raw = explanation.raw_maps
    view = {
        "name": f"{explanation.method}, {explanation.normalization}",
        "shape": list(raw.shape),
        "low": raw.min(axis=(0, 2, 3)).astype(float).tolist(),
        "high": raw.max(axis=(0, 2, 3)).astype(float).tolist(),
    }
    if explanation.is_video:
        view["curves"] = np.round(explanation.curves.astype(float), 3).tolist()
    return view


def map_bytes(explanation):
    """The maps as bytes [F, T, Gy, Gx], 255 is 1; then the raw ones of 16 bits between each word's extremes."""
    raw = explanation.raw_maps
    low, high = (edge(raw, axis=(0, 2, 3), keepdims=True) for edge in (np.min, np.max))
    scaled = (raw - low) / np.where(high > low, high - low, 1)
    maps = np.rint(255 * np.clip(explanation.maps, 0, 1)).astype(np.uint8)
    return maps.tobytes() + np.rint(65535 * scaled).astype("<u2").tobytes()


def colours():
    """The colour maps as bytes [maps, 256, 3]: COLOUR_MAPS without dark ends, as in the overlay, and DIFFERENCE."""
    from matplotlib import colormaps

    levels = np.linspace(0, 1, 256)
    places = [0.1 + 0.8 * levels] * len(COLOUR_MAPS) + [levels]
    rows = [255 * colormaps[name](at)[:, :3] for name, at in zip((*COLOUR_MAPS, DIFFERENCE), places, strict=True)]
    return np.round(rows).astype(np.uint8).tobytes()


def _medium(explanation):
    """(its type, the content of a file) that browsers show, not larger than MOST_SIDE."""
    scale = min(1, MOST_SIDE[explanation.is_video] / max(explanation.height, explanation.width))
    size = tuple(max(2, round(side * scale / 2) * 2) for side in (explanation.width, explanation.height))
    if explanation.is_video:
        frames = (frame for batch in media.read_frames(explanation.path, size=size) for frame in batch)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "clip.mp4")
            media.write_video(path, frames, explanation.fps)
            return "video/mp4", path.read_bytes()
    content = io.BytesIO()
    picture = Image.fromarray(media.read_image(explanation.path)).resize(size, Image.Resampling.LANCZOS)
    picture.save(content, "JPEG", quality=QUALITY)
    return "image/jpeg", content.getvalue()
