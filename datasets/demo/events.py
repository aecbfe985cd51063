"""What happens to the things of the Demo data set: for every verb a pose in time, and a picture that goes with it.

What a caption says happens to a thing also shows in single frames (sparkles, smoke, arcs, rays, flames, ice): a map
over frames and regions has nothing else to go by, and a captioner can learn from few clips what happens to what.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from datasets.demo.things import ellipse, fill, star

REACH = 1.6  # an event's picture reaches this far, in radii of its thing
SIDE = 160  # pixels of it
OVERSAMPLING = 3  # as in things.py


# ---------------------------------------------------------------------------------------------- pictures
# Premultiplied RGBA, SIDE x SIDE, from -REACH to REACH; drawn once for every thing.


def _on_canvas(draw):
    """Make of `draw(rng, fill)` a function of rng that gives the finished picture."""

    def drawn(rng):
        side = SIDE * OVERSAMPLING
        image = Image.new("RGBA", (side, side))
        draw(rng, lambda outline, colour: fill(image, outline, colour, REACH))
        return image.convert("RGBa").reduce(OVERSAMPLING).filter(ImageFilter.GaussianBlur(0.5))

    return drawn


def _around(angle, radius):
    return np.array([radius * np.sin(angle), -radius * np.cos(angle)])


@_on_canvas
def draw_sparkles(rng, fill):
    for angle in np.arange(13) * 2 * np.pi / 13 + rng.uniform(-0.2, 0.2, 13):
        place, size = _around(angle, rng.uniform(0.75, 1.35)), rng.uniform(0.16, 0.36)
        fill(place + size * 1.25 * star(4, 0.26), (255, 196, 20, 255))
        fill(place + size * 0.7 * star(4, 0.26), (255, 252, 220, 255))


@_on_canvas
def draw_smoke(rng, fill):
    for nearest, farthest in ((0.5, 0.85), (0, 0.45)):  # the puffs in the middle lie on those outside
        for angle in np.arange(9) * 2 * np.pi / 9 + rng.uniform(-0.2, 0.2, 9):
            place, size = _around(angle, rng.uniform(nearest, farthest)), rng.uniform(0.34, 0.5)
            for grey, share, shift in ((176, 1.0, 0), (214, 0.86, 0.05), (246, 0.62, 0.1)):
                fill(ellipse(*(place - shift), size * share), (grey, grey, grey + 4, 255))


@_on_canvas
def draw_arcs(rng, fill):
    t = np.linspace(0, 1, 30)
    for start in np.arange(3) * 2 * np.pi / 3:
        for radius, width, lead in ((1.18, 0.1, 0), (1.4, 0.07, 0.5)):
            for rim, colour in ((0.025, (70, 70, 80, 255)), (0, (255, 255, 255, 255))):
                half = width * np.sin(np.pi * t**0.6) + rim
                outer, inner = (
                    _around(start + lead + 1.35 * t, radius + half),
                    _around(start + lead + 1.35 * t, radius - half),
                )
                fill(np.concatenate([outer.T, inner.T[::-1]]), colour)


@_on_canvas
def draw_rays(rng, fill):
    for colour, length in (
        ((255, 190, 30, 90), 1.58),
        ((255, 170, 0, 235), 1.5),
        ((255, 240, 120, 255), 1.3),
        ((255, 255, 240, 255), 1.08),
    ):
        points = length * star(14, 0.72)
        points[::4] *= 0.85  # every other ray is shorter
        fill(points, colour)


@_on_canvas
def draw_flames(rng, fill):
    t = np.linspace(0, 1, 24)
    for colour, size in (((226, 60, 12, 240), 1.0), ((255, 140, 20, 245), 0.74), ((255, 226, 90, 250), 0.45)):
        for x, height in ((-0.85, 1.15), (-0.45, 1.7), (0, 2.05), (0.42, 1.6), (0.82, 1.2)):
            y = 1.1 - height * size * (1 + 0.12 * rng.standard_normal()) * t
            middle = x * (1 - 0.2 * t) + 0.15 * rng.standard_normal() * t**2 + 0.05 * np.sin(7 * t + rng.uniform(0, 6))
            half = 0.42 * (0.55 + 0.45 * size) * np.sin(np.pi * (0.12 + 0.88 * t**0.8)).clip(0) ** 0.8 * (1 - 0.2 * t)
            tongue = np.concatenate([np.stack([middle - half, y], 1), np.stack([middle + half, y], 1)[::-1]])
            fill(tongue, colour)


@_on_canvas
def draw_ice(rng, fill):
    angles = np.arange(8) * np.pi / 4 + rng.uniform(-0.2, 0.2, 8)
    outer = _around(angles, rng.uniform(1.1, 1.32, 8)).T
    inner = 0.62 * outer
    fill(inner, (130, 210, 250, 110))
    for k in range(8):
        facet = [outer[k - 1], outer[k], inner[k], inner[k - 1]]
        shade = int(165 - 60 * np.sin(angles[k]))
        fill(facet, (shade, shade + 30, 255, int(rng.uniform(80, 125))))
    for k in range(8):
        for start, end in ((outer[k - 1], outer[k]), (inner[k - 1], inner[k]), (inner[k], outer[k])):
            across = 0.022 * (end - start)[::-1] * [1, -1] / np.hypot(*(end - start))
            fill([start - across, start + across, end + across, end - across], (244, 252, 255, 125))


# ---------------------------------------------------------------------------------------------- events


def ease(u):
    """A smooth step from 0 at u = 0 to 1 at u = 1."""
    u = min(max(u, 0.0), 1.0)
    return u * u * (3 - 2 * u)


def swell(u, share):
    """0 at u = 0, 1 in between, 0 at u = 1; `share` of the time goes into each slope."""
    return ease(u / share) * ease((1 - u) / share)


class Layer(NamedTuple):
    """How an event's picture is laid on a frame: scale in radii of the thing, shift down in radii, opacity."""

    scale: float
    opacity: float
    angle: float = 0.0
    down: float = 0.0
    mirror: int = 1  # -1: left and right exchanged


class Pose(NamedTuple):
    """What an event makes of its thing in a frame, and the layers behind and before the thing."""

    scale: float = 1.0
    opacity: float = 1.0
    angle: float = 0.0
    whiteness: float = 0.0
    behind: Layer | None = None
    before: Layer | None = None


# The pose at `u`, the share of the event's time that has gone by (0 before it, 1 after it); `turn` is 1 or -1.


def _appears(u, turn):
    burst = Layer(0.75 + 0.4 * u, swell(u, 0.22), 0.6 * u * turn)
    return Pose(scale=0.6 + 0.4 * ease(u / 0.8), opacity=ease((u - 0.1) / 0.5), before=burst)


def _vanishes(u, turn):
    return Pose(opacity=1 - ease((u - 0.3) / 0.3), before=Layer(0.6 + 0.6 * u, swell(u, 0.27), 0.5 * u * turn))


def _spins(u, turn):
    angle = 3 * 2 * math.pi * u * turn
    return Pose(angle=angle, before=Layer(1.05, 0.95 * swell(u, 0.2), angle, mirror=turn))


def _flashes(u, turn):
    glow = (0.4 + 0.6 * math.sin(4 * math.pi * u) ** 2) * swell(u, 0.1)
    return Pose(whiteness=0.5 * glow, behind=Layer(0.9 + 0.25 * glow, glow, 2 * u * turn))


def _burns(u, turn):
    fire, mirror = swell(u, 0.25), 1 if int(20 * u) % 2 else -1  # flickering
    size = 0.6 + 0.4 * fire
    return Pose(
        behind=Layer(1.1 * size, fire, down=-0.25, mirror=mirror),
        before=Layer(0.52 * size, fire, down=0.5, mirror=-mirror),
    )


def _freezes(u, turn):
    return Pose(before=Layer(1.02, swell(u, 0.15)))


class Event(NamedTuple):
    """What a verb stands for; times in frames."""

    pose: Callable  # (u, turn) -> Pose
    draw: Callable  # rng -> picture
    shortest: int
    longest: int
    before: int = 2  # at least so many frames of the clip come before it, and after it
    after: int = 2


# A thing that appears or vanishes is to be seen for some time all the same.
EVENTS = {
    "appears": Event(_appears, draw_sparkles, 11, 15, before=4, after=10),
    "vanishes": Event(_vanishes, draw_smoke, 11, 15, before=8, after=4),
    "spins": Event(_spins, draw_arcs, 16, 23),
    "flashes": Event(_flashes, draw_rays, 16, 23),
    "burns": Event(_burns, draw_flames, 16, 23),
    "freezes": Event(_freezes, draw_ice, 16, 23),
}
