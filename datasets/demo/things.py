"""The named things of the Demo data set: kinds (outlines and details), looks (colours and materials), their pictures.

Everything is arithmetic on coordinates and a seeded generator. A thing is drawn once, upright and larger than it is
ever shown; scenes.py turns, scales and lights it in every frame. Outlines are in units of the thing's radius:
x to the right, y down, the centre at (0, 0).
"""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

SIDE = 128  # pixels of a thing's picture
MARGIN = 1.12  # the picture reaches from -MARGIN to MARGIN
OVERSAMPLING = 4  # outlines are filled at this multiple of SIDE and averaged down, which smooths their edges
BEVEL = 0.34  # how far from the outline the surface is still rising


# ---------------------------------------------------------------------------------------------- outlines [n, 2]


def ellipse(x, y, radius_x, radius_y=None, degrees=0.0):
    """An ellipse about (x, y), turned by `degrees`; a circle without `radius_y`."""
    t = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    points = np.stack([radius_x * np.cos(t), (radius_y or radius_x) * np.sin(t)], axis=1)
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return points @ [[cosine, sine], [-sine, cosine]] + [x, y]


def star(n_points, inner):
    """A star about the centre with one point up and its dents at `inner`."""
    t = np.arange(2 * n_points) * np.pi / n_points
    radius = np.where(np.arange(2 * n_points) % 2, inner, 1.0)
    return np.stack([radius * np.sin(t), -radius * np.cos(t)], axis=1)


def box(left, top, right, bottom):
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def both_sides(parts):
    """The parts, and the same with left and right exchanged."""
    return [(paint, side * np.array(outline)) for paint, outline in parts for side in ([1, 1], [-1, 1])]


# ---------------------------------------------------------------------------------------------- kinds
# What tells a kind is spread over its inside: a region of a few pixels has to do. Outlines alone (stars, umbrellas) put
# the captioner's highest scores beside the thing, and were left out.

BODY = "body"  # the parts that take the look; all others have a colour of their own
INK, WHITE, CREAM, BROWN, GLASS = (52, 44, 44), (250, 248, 240), (240, 224, 192), (112, 78, 52), (170, 212, 228)
SLATE, STEEL, AMBER = (78, 78, 92), (120, 124, 136), (244, 176, 60)
LILAC, PLUM = (178, 120, 214), (116, 66, 150)
LAMPS = (220, 60, 50), (240, 200, 60), (70, 170, 90)


def _owl():
    feathers = [(-0.18, 0.32), (0.18, 0.32), (0, 0.47), (-0.18, 0.62), (0.18, 0.62), (0, 0.77)]
    return [
        (BODY, ellipse(0, 0.08, 0.82, 0.95)),
        *both_sides([(BODY, [(-0.8, -0.3), (-0.78, -1.05), (-0.1, -0.7)])]),
        *both_sides(
            [(paint, ellipse(-0.36, -0.3, size)) for paint, size in ((WHITE, 0.34), (AMBER, 0.24), (INK, 0.13))]
        ),
        (AMBER, [(-0.12, -0.12), (0.12, -0.12), (0, 0.2)]),
        (CREAM, ellipse(0, 0.52, 0.42)),
        *((BROWN, [(x - 0.09, y), (x + 0.09, y), (x, y + 0.11)]) for x, y in feathers),
    ]


def _car():
    body = [(-1.0, 0.5), (-1.0, 0.0), (-0.92, -0.12), (-0.68, -0.18), (-0.5, -0.68), (-0.4, -0.76)]
    body += [(0.36, -0.76), (0.47, -0.7), (0.7, -0.16), (0.93, -0.06), (1.0, 0.06), (1.0, 0.5)]
    return [
        (BODY, body),
        (GLASS, [(-0.52, -0.17), (-0.36, -0.6), (-0.06, -0.6), (-0.06, -0.17)]),
        (GLASS, [(0.08, -0.17), (0.08, -0.6), (0.33, -0.6), (0.53, -0.17)]),
        *((paint, ellipse(x, 0.5, size)) for paint, size in ((INK, 0.3), (WHITE, 0.13)) for x in (-0.54, 0.54)),
    ]


def _clock():
    hours = np.arange(12) * np.pi / 6
    return [
        (BODY, ellipse(0, 0, 1.0)),
        (WHITE, ellipse(0, 0, 0.6)),
        *((INK, ellipse(0.48 * np.sin(hour), -0.48 * np.cos(hour), 0.06)) for hour in hours),
        (INK, [(-0.06, 0.08), (0.06, 0.08), (0.04, -0.42), (-0.04, -0.42)]),
        (INK, [(-0.07, -0.06), (-0.02, 0.08), (0.36, 0.2), (0.38, 0.1)]),
    ]


def _drum():
    laces = [[(x, -0.2), (x + 0.08, -0.2), (x + 0.48, 0.75), (x + 0.4, 0.75)] for x in (-0.89, -0.49, -0.09, 0.36)]
    return [
        (BODY, box(-0.95, -0.5, 0.95, 0.6)),
        (BODY, ellipse(0, 0.6, 0.95, 0.32)),
        (CREAM, ellipse(0, -0.5, 0.95, 0.32)),
        *both_sides([(WHITE, lace) for lace in laces]),
    ]


def _robot():
    return [
        (INK, box(-0.04, -1.05, 0.04, -0.7)),
        (AMBER, ellipse(0, -1.0, 0.1)),
        (BODY, box(-0.7, -0.78, 0.7, 0.12)),
        (BODY, box(-0.85, 0.2, 0.85, 0.98)),
        *both_sides([(WHITE, ellipse(-0.33, -0.42, 0.22)), (INK, ellipse(-0.33, -0.42, 0.11))]),
        (INK, box(-0.38, -0.14, 0.38, 0)),
        *((WHITE, box(x, -0.12, x + 0.09, -0.02)) for x in (-0.32, -0.14, 0.05, 0.23)),
        (STEEL, box(-0.5, 0.36, 0.5, 0.82)),
        *((lamp, ellipse(x, 0.59, 0.11)) for lamp, x in zip(LAMPS, (-0.28, 0, 0.28), strict=True)),
    ]


KINDS = {
    "owl": _owl(),
    "car": _car(),
    "clock": _clock(),
    "house": [
        (BODY, box(-0.82, -0.15, 0.82, 0.95)),
        (SLATE, [(-1.05, -0.1), (0, -1.0), (1.05, -0.1)]),
        (BROWN, box(-0.2, 0.4, 0.2, 0.95)),
        *both_sides([(GLASS, box(-0.66, 0.15, -0.34, 0.47))]),
    ],
    "butterfly": [
        *both_sides([(BODY, ellipse(-0.54, -0.38, 0.58, 0.48, 40)), (BODY, ellipse(-0.46, 0.44, 0.48, 0.42, -40))]),
        (INK, ellipse(0, 0.02, 0.11, 0.62)),
        (INK, ellipse(0, -0.6, 0.13)),
        *both_sides([(INK, [(0, -0.6), (-0.34, -0.98), (-0.28, -1.0), (0.05, -0.62)])]),
    ],
    "drum": _drum(),
    "gift": [
        (BODY, box(-0.9, -0.4, 0.9, 0.98)),
        (LILAC, box(-0.17, -0.4, 0.17, 0.98)),
        (LILAC, box(-0.9, 0.12, 0.9, 0.42)),
        *both_sides([(LILAC, ellipse(-0.38, -0.62, 0.36, 0.24, 25)), (PLUM, ellipse(-0.36, -0.62, 0.16, 0.1, 25))]),
        (PLUM, ellipse(0, -0.5, 0.14)),
    ],
    "robot": _robot(),
}


# ---------------------------------------------------------------------------------------------- looks
# A look is a function of (rng, x, y), coordinates [n, n] in -1..1 -> colours [n, n, 3].


def smooth_noise(rng, shape, spacing, spacing_x=None):
    """Normal random numbers every `spacing` pixels (down, and across), smooth in between: float [*shape]."""
    spacings = (spacing, spacing_x or spacing)
    knots = [int(np.ceil(n / step)) + 3 for n, step in zip(shape, spacings, strict=True)]
    picture = Image.fromarray(rng.standard_normal(knots).astype(np.float32))
    size = [int(n * step) for n, step in zip(knots, spacings, strict=True)]
    return np.asarray(picture.resize(size[::-1], Image.Resampling.BICUBIC))[: shape[0], : shape[1]]


def blend(colour, other, share):
    """`share` of the other colour: colours [..., 3], share [n, n] (cut to 0..1) -> [n, n, 3]."""
    share = np.clip(share, 0, 1)[..., None]
    return np.asarray(colour) * (1 - share) + np.asarray(other) * share


def edge(values, width):
    """A soft step where `values` cross 0: 0..1."""
    return np.clip(values / width + 0.5, 0, 1)


def turned(x, y, angle):
    """Coordinates in a frame turned by `angle`."""
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def plain(*colour):
    def look(rng, x, y):
        return colour + rng.uniform(-10, 10, 3) + 4 * smooth_noise(rng, x.shape, 20)[..., None]

    return look


def wooden(rng, x, y):
    n = len(x)
    bent = x + 0.05 * smooth_noise(rng, x.shape, n / 4)
    rings = np.sin(2 * np.pi * (3.2 * bent + 0.8 * smooth_noise(rng, x.shape, n / 1.5, n / 6)))
    fibres = smooth_noise(rng, x.shape, n / 6, 1.5)
    return blend((214, 160, 98), (134, 82, 40), 0.45 + 0.35 * rings + 0.14 * fibres)


def striped(rng, x, y):
    along, _ = turned(x, y, rng.uniform(0, np.pi))
    return blend((245, 242, 235), (30, 28, 30), edge(np.sin(2 * np.pi * (along / 0.42 + rng.uniform())), 0.3))


def dotted(rng, x, y):
    u, v = turned(x, y, rng.uniform(0, np.pi / 2))
    v = v / 0.4
    u = u / 0.46 + np.floor(v) % 2 / 2  # every other row is shifted by half a step
    distance = np.hypot(u - np.floor(u) - 0.5, v - np.floor(v) - 0.5)
    return blend((226, 60, 150), (252, 250, 250), edge(0.3 - distance, 0.1))


def woolly(rng, x, y):
    column = x / 0.22
    across = np.abs(column - np.floor(column) - 0.5)
    row = y / 0.2 + 1.1 * across  # stitches lean: a V in every column
    gap = np.minimum(0.5 - across, 0.5 - np.abs(row - np.floor(row) - 0.5))
    return blend((30, 100, 100), (90, 190, 180), 0.15 + 2.6 * gap + 0.08 * smooth_noise(rng, x.shape, 2))


LOOKS = {
    "red": plain(214, 32, 36),
    "wooden": wooden,
    "blue": plain(34, 84, 214),
    "striped": striped,
    "green": plain(40, 158, 62),
    "dotted": dotted,
    "yellow": plain(250, 214, 30),
    "woolly": woolly,
}


# ---------------------------------------------------------------------------------------------- pictures


class Picture(NamedTuple):
    """A thing upright and unlit, both images SIDE x SIDE."""

    colour: Image.Image
    surface: Image.Image  # x and y of the normal, each as 128 + 127 * value, and the coverage 0..255


def fill(image, outline, colour, reach=MARGIN):
    """Fill an outline in a square image that reaches from -reach to reach."""
    points = (np.asarray(outline, float) / reach + 1) / 2 * image.width
    ImageDraw.Draw(image).polygon([tuple(point) for point in points], fill=colour)


def draw_thing(rng, kind, look):
    """The Picture of a thing of that kind and look."""
    side = SIDE * OVERSAMPLING
    coverage, is_detail = Image.new("L", (side, side)), Image.new("L", (side, side))
    details = Image.new("RGB", (side, side))
    for paint, outline in KINDS[kind]:
        fill(coverage, outline, 255)
        fill(is_detail, outline, 0 if paint == BODY else 255)
        fill(details, outline, "black" if paint == BODY else paint)
    coverage, is_detail, details = (
        np.asarray(image.reduce(OVERSAMPLING), float) for image in (coverage, is_detail, details)
    )
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE * 2 - 1
    colour = LOOKS[look](rng, x, y)
    # The average of a detail's edge pixel already counts the black around it: only the look's share is to be added.
    colour = colour * (1 - is_detail[..., None] / 255) + details  # [SIDE, SIDE, 3]

    # The surface rises from the outline like a quarter of a circle and is flat inside.
    depth = ndimage.distance_transform_edt(coverage > 127) / (SIDE / 2)
    height = BEVEL * np.sqrt(1 - (1 - np.clip(depth / BEVEL, 0, 1)) ** 2)
    slope_y, slope_x = np.gradient(ndimage.gaussian_filter(height, SIDE / 40), 2 / SIDE)
    length = np.sqrt(1 + slope_x**2 + slope_y**2)
    surface = np.stack([128 - 127 * slope_x / length, 128 - 127 * slope_y / length, coverage], axis=-1)
    return Picture(*(Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)) for pixels in (colour, surface)))
