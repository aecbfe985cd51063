"""Pages in a real browser: Debian's chromium, driven by Playwright."""

import base64
import io
import shutil

import numpy as np
import pytest
from PIL import Image

from explain import overlay
from vision import geometry

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no chromium: docs/commands.md says how to get it"
)


def drawn(tab, number=0):
    """A canvas as it would lie on black: [h, w, 3]."""
    encoded = tab.evaluate(f"canvases[{number}].toDataURL()").partition(",")[2]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGBA"), float)
    return pixels[..., :3] * pixels[..., 3:] / 255


def assert_heat(tab, one, frame, word, number=0):
    """The heat of the overlay, at five places."""
    canvas = drawn(tab, number)
    height, width = canvas.shape[:2]
    scale = width / one.width
    box = tuple(scale * side for side in one.box)
    expected = overlay.heat(np.zeros((height, width, 3), np.uint8), one.maps[frame, word], box)
    inside = geometry.enlarge(np.ones((1, 1)), height, width, box) > 0
    for y, x in ((0.5, 0.5), (0.1, 0.9), (0.3, 0.2), (0.7, 0.6), (0.9, 0.35)):
        place = int(y * height), int(x * width)
        if inside[place]:
            np.testing.assert_allclose(canvas[place], expected[place], atol=3)
    assert abs(canvas - expected)[inside].mean() < 2
