"""A page that lists the pages of several media or sentences, with a picture of each."""

import base64
import dataclasses
import html
import io
import os
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image

from explain import overlay, page
from system import files
from vision import media

NAME = "index.html"
SIDE, QUALITY = 240, 80  # pixels of a thumbnail's longer side; its quality as JPEG
STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
ul {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1rem;
  padding: 0; list-style: none;
}
a { display: block; color: inherit; overflow-wrap: anywhere; }
img { display: block; width: 100%; height: 10rem; object-fit: contain; object-position: left; }
small { display: block; opacity: .7; }
"""
HEAD = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
      content="default-src 'none'; style-src {page.source_hash(STYLE)}; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Which parts of it say which word?</title>
<style>{STYLE}</style>
</head>
<body>
<ul>
"""


@dataclasses.dataclass(frozen=True)
class Entry:
    """What is said of a page: its file, the medium's name, the sentence, and a JPEG."""

    page: Path
    medium: str
    sentence: str
    thumbnail: bytes


def entry(explanation, written):
    """The Entry of an explanation's page: the picture under the map of the word that owes most to it, at its best."""
    word = int(np.argmax(explanation.gain))
    number = 0
    if explanation.is_video:
        number = int(np.argmax(explanation.curves[:, word]))
        (frame,) = np.concatenate(list(media.read_frames(explanation.path, [number])))
    else:
        frame = media.read_image(explanation.path)
    scale = SIDE / max(frame.shape[:2])
    height, width = (max(round(side * scale), 1) for side in frame.shape[:2])
    small = np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS))
    box = tuple(scale * side for side in explanation.box)
    content = io.BytesIO()
    Image.fromarray(overlay.heat(small, explanation.maps[number, word], box)).save(content, "JPEG", quality=QUALITY)
    return Entry(written, explanation.path.name, explanation.query.sentence, content.getvalue())


def write(entries, folder):
    """Write the list of pages, which lie in `folder` -> its path; UserError where it cannot be written."""
    lines = [
        f'<li><a href="{quote(os.fsencode(one.page.name))}"><img alt="" src="data:image/jpeg;base64,'
        f'{base64.b64encode(one.thumbnail).decode()}"><bdi>{html.escape(one.sentence)}</bdi>'
        f"<small><bdi>{html.escape(one.medium)}</bdi></small></a></li>"
        for one in entries
    ]
    target = Path(folder, NAME)
    files.write_text(target, "\n".join([HEAD, *lines, "</ul>", "</body>", "</html>", ""]))
    return target
