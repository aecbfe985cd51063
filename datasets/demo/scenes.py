"""The scenes of the Demo data set: things of things.py over a textured ground, and what happens to them.

    for frame, masks in render(scene, rng): ...

Light falls from the upper left on everything, shadows lie to the lower right.
"""

import dataclasses
import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from datasets.demo import events, things
from datasets.demo.things import blend, ellipse, fill, smooth_noise

SIZE = 256  # pixels of a frame, both ways
BLACK = (0, 0, 0)
LIGHT = (-0.5, -0.62, 0.604)  # of length 1, towards the light: x to the right, y down, z to the viewer


# ---------------------------------------------------------------------------------------------- the ground


def _greyish(rng):
    """A light colour of little saturation, so that no ground is taken for a look."""
    return rng.uniform(140, 205) + rng.uniform(-13, 13, 3)


def linen(rng, shape):
    threads = smooth_noise(rng, shape, 2, 24) + smooth_noise(rng, shape, 24, 2)
    return _greyish(rng) + 7 * threads[..., None]


def plaster(rng, shape):
    height = sum(smooth_noise(rng, shape, spacing) for spacing in (4, 12, 40))
    return _greyish(rng) + 16 * sum(np.gradient(height))[..., None] + 6 * smooth_noise(rng, shape, 80)[..., None]


def sand(rng, shape):
    y = np.arange(shape[0])[:, None]
    ripples = np.sin(2 * np.pi * (y / 22 + 0.8 * smooth_noise(rng, shape, 60)))
    grains = rng.standard_normal(shape)
    return np.array([206, 186, 150]) + rng.uniform(-14, 10) + (9 * ripples + 8 * grains)[..., None]


def grass(rng, shape):
    blades = smooth_noise(rng, shape, 7, 2) + 0.4 * smooth_noise(rng, shape, 50)
    return blend((88, 112, 74), (150, 168, 120), 0.5 + 0.3 * blades)


def clouds(rng, shape):
    shapes = sum(smooth_noise(rng, shape, spacing) for spacing in (24, 50, 90))
    return blend((142, 170, 196), (214, 222, 228), 0.5 + 0.2 * shapes)


def tiles(rng, shape):
    side = rng.integers(46, 66)
    y, x = np.indices(shape) + rng.integers(0, side, 2)[:, None, None]
    from_joint = np.minimum(np.minimum(y % side, -y % side), np.minimum(x % side, -x % side))
    each = 9 * np.sin(12.7 * (y // side) + 78.2 * (x // side))  # a shade of its own for every tile
    worn = 5 * (smooth_noise(rng, shape, 3) + smooth_noise(rng, shape, 20))
    return (_greyish(rng) + (each + worn)[..., None]) * (0.72 + 0.28 * np.clip(from_joint / 3, 0, 1))[..., None]


GROUNDS = (linen, plaster, sand, grass, clouds, tiles)


def draw_ground(rng):
    """A ground without things, SIZE x SIZE."""
    ground = GROUNDS[rng.integers(len(GROUNDS))](rng, (SIZE, SIZE))
    y, x = np.indices((SIZE, SIZE)) / SIZE
    vignette = 1.05 - 0.35 * ((x - 0.35) ** 2 + (y - 0.35) ** 2)
    return _picture(np.clip(ground, 0, 255) * vignette[..., None])


class Clutter:
    """A pebble or a scribble of 8 to 20 pixels, which no caption names."""

    SIDE = 24

    def __init__(self, rng):
        side, oversampling = self.SIDE, 4
        image = Image.new("L", (side * oversampling, side * oversampling))
        if rng.random() < 0.6:
            fill(image, ellipse(0, 0, *rng.uniform(0.35, 0.75, 2), rng.uniform(0, 180)), 255, reach=1)
        else:
            y = np.linspace(0.15, 0.85, 40)
            x = 0.5 + 0.3 * np.sin(y * rng.uniform(3, 9) + rng.uniform(0, 6))
            points = [tuple(point) for point in np.stack([x, y], axis=1) * image.width]
            ImageDraw.Draw(image).line(points, fill=255, width=6, joint="curve")
        self.coverage = image.reduce(oversampling)
        self.shadow = _times(self.coverage.filter(ImageFilter.GaussianBlur(1.5)), 0.4)
        shade = 1.25 - 0.6 * np.indices((side, side)).sum(axis=0)[..., None] / (2 * side)
        self.colour = _picture(shade * (rng.uniform(70, 150) + rng.uniform(-10, 10, 3)))
        self.path = rng.uniform(0, SIZE - side - 2, (2, 2))  # [first and last frame, (x, y)]

    def paint(self, frame, progress):
        """Paint it where it is at `progress` (0..1) of the clip, in place."""
        left, top = np.rint(self.path[0] * (1 - progress) + self.path[1] * progress).astype(int).tolist()
        frame.paste(BLACK, (left + 2, top + 2), self.shadow)
        frame.paste(self.colour, (left, top), self.coverage)


# ---------------------------------------------------------------------------------------------- frames


@dataclasses.dataclass(frozen=True)
class Thing:
    """A named thing: what it is, when its event happens (frames [start, stop)), and how it lies and moves (pixels)."""

    kind: str
    look: str
    event: str
    start: int
    stop: int
    radius: float
    path: tuple  # ((x, y) in the first frame, (x, y) in the last)
    tilt: float  # radians
    turn: int  # 1 or -1: clockwise or not


@dataclasses.dataclass(frozen=True)
class Scene:
    n_frames: int
    things: tuple


def render(scene, rng):
    """Draw a scene: generates (frame uint8 [SIZE, SIZE, 3], masks bool [n things, SIZE, SIZE]) for every frame.

    A pixel belongs to the thing that covers it by at least one half there and is covered so by nothing after it.
    """
    ground = draw_ground(rng)
    for _ in range(rng.integers(3, 8)):
        Clutter(rng).paint(ground, 0)
    wanderers = [Clutter(rng) for _ in range(rng.integers(0, 3))]
    sprites = [Sprite(things.draw_thing(rng, thing.kind, thing.look)) for thing in scene.things]
    effects = [events.EVENTS[thing.event].draw(rng) for thing in scene.things]
    for t in range(scene.n_frames):
        frame = ground.copy()
        masks = [Image.new("L", frame.size) for _ in scene.things]
        progress = t / (scene.n_frames - 1)
        for wanderer in wanderers:
            wanderer.paint(frame, progress)
        for thing, sprite, effect, mask in zip(scene.things, sprites, effects, masks, strict=True):
            u = min(max((t + 0.5 - thing.start) / (thing.stop - thing.start), 0.0), 1.0)
            pose = events.EVENTS[thing.event].pose(u, thing.turn)
            (x0, y0), (x1, y1) = thing.path
            centre = x0 + (x1 - x0) * progress, y0 + (y1 - y0) * progress
            _paint_effect(frame, masks, effect, centre, thing.radius, pose.behind)
            _paint_thing(frame, masks, mask, sprite, centre, thing, pose)
            _paint_effect(frame, masks, effect, centre, thing.radius, pose.before)
        yield np.array(frame), np.stack([np.asarray(mask) > 0 for mask in masks])


class Sprite:
    """A thing's picture under the light; lit anew only when it turns."""

    def __init__(self, picture):
        self.colour = np.asarray(picture.colour, np.float32)  # [side, side, 3]
        surface = np.asarray(picture.surface, np.float32)
        self.normal_x, self.normal_y = (surface[..., 0] - 128) / 127, (surface[..., 1] - 128) / 127  # [side, side]
        self.normal_z = np.sqrt(np.clip(1 - self.normal_x**2 - self.normal_y**2, 0, 1))
        self.coverage = surface[..., 2]
        self.angle = None

    def lit(self, angle):
        """The picture as it looks when turned by `angle`, but upright still: premultiplied RGBA."""
        if angle != self.angle:
            cosine, sine = math.cos(angle), math.sin(angle)
            light_x, light_y = cosine * LIGHT[0] + sine * LIGHT[1], cosine * LIGHT[1] - sine * LIGHT[0]
            facing = self.normal_x * light_x + self.normal_y * light_y + self.normal_z * LIGHT[2]
            highlight = 90 * (np.clip(facing, 0, 1) ** 4) ** 4
            colour = self.colour * (0.62 + 0.62 * np.clip(facing, -0.2, 1))[..., None] + highlight[..., None]
            pixels = np.dstack([np.minimum(colour, 255), self.coverage]).astype(np.uint8)
            self.angle, self.image = angle, Image.fromarray(pixels).convert("RGBa")
        return self.image


def _paint_thing(frame, masks, own_mask, sprite, centre, thing, pose):
    """Paint a thing and its shadow, in place."""
    if pose.opacity == 0:
        return
    radius, angle = thing.radius * pose.scale, thing.tilt + pose.angle
    picture, corner = _place(sprite.lit(angle), centre, things.MARGIN * radius, angle, window=1.42 * radius)
    coverage = picture.getchannel("A")
    offset = max(1, int(0.12 * radius))
    shadow = _times(coverage.filter(ImageFilter.BoxBlur(0.13 * radius)), 0.5 * pose.opacity)
    frame.paste(BLACK, (corner[0] + offset, corner[1] + offset), shadow)
    colour = picture.convert("RGB")
    if pose.whiteness > 0:
        colour = Image.blend(colour, Image.new("RGB", colour.size, "white"), pose.whiteness)
    hidden = _cover(frame, masks, colour, coverage, corner, pose.opacity)
    own_mask.paste(255, corner, hidden)


def _paint_effect(frame, masks, picture, centre, radius, layer):
    """Paint an event's picture, in place; where it covers a thing by half or more, that is hidden."""
    if layer is None or layer.opacity == 0:
        return
    centre = centre[0], centre[1] + layer.down * radius
    reach = events.REACH * layer.scale * radius
    placed, corner = _place(picture, centre, reach, layer.angle, reach, layer.mirror)
    _cover(frame, masks, placed.convert("RGB"), placed.getchannel("A"), corner, layer.opacity)


def _place(image, centre, reach, angle, window, mirror=1):
    """Put a premultiplied image on the frame: turned, its middle at `centre`, its edges `reach` pixels from there.

    -> RGBA of the square of the frame that goes `window` pixels to all sides, and that square's corner (left, top).
    """
    half = int(window) + 2
    left, top, side = int(centre[0]) - half, int(centre[1]) - half, 2 * half + 1
    # Pillow wants the way back: from a pixel of the window to one of the image.
    scale = image.width / 2 / reach
    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
    across, down = (mirror * cosine, mirror * sine), (-sine, cosine)
    dx, dy = left - centre[0], top - centre[1]
    shifts = [a * dx + b * dy + image.width / 2 for a, b in (across, down)]
    matrix = (*across, shifts[0], *down, shifts[1])
    placed = image.transform((side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    return placed.convert("RGBA"), (left, top)


def _cover(frame, masks, colour, coverage, corner, opacity):
    """Lay a picture on the frame and take what it covers by half or more from all masks, in place -> where (0, 255)."""
    coverage = _times(coverage, opacity)
    frame.paste(colour, corner, coverage)
    hidden = coverage.point(AT_LEAST_HALF)
    for mask in masks:
        mask.paste(0, corner, hidden)
    return hidden


AT_LEAST_HALF = [255 * (level >= 128) for level in range(256)]


def _times(levels, factor):
    """An image of levels 0..255 times a factor of at most 1."""
    return levels.point([round(factor * level) for level in range(256)])


def _picture(pixels):
    """Pixels [h, w, 3] of any values -> an RGB image."""
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
