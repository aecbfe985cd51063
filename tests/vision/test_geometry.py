"""Where the CNN looks, by golden numbers, by hand, and by dots that are painted and found again."""

from pathlib import Path

import numpy as np
import pytest

from vision import geometry

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden" / "golden_preprocess.npz"
PHOTOGRAPHS = [
    "astronaut_512x512",
    "china_427x640",
    "flower_portrait_640x427",
    "chelsea_300x451",
    "coffee_small_150x101",
]
# height, width: landscape, portrait, square, odd, small, large, extreme
SHAPES = [(240, 320), (320, 240), (256, 256), (301, 452), (101, 150), (900, 1201), (60, 400)]


@pytest.mark.skipif(not GOLDEN.exists(), reason=f"{GOLDEN} is not there")
@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_crop_is_the_released_programs(name):
    with np.load(GOLDEN) as golden:
        image, expected = golden[f"in_{name}"], golden[f"out_{name}"]
    fitted = geometry.fit(image, "crop", 299)
    assert (fitted.shape, fitted.dtype) == ((299, 299, 3), np.uint8)
    np.testing.assert_allclose(fitted.astype(int), expected, atol=1)


def test_whole_squashes_the_picture():
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, 40:] = (255, 128, 0)  # the right half
    fitted = geometry.fit(image, "whole", 20)
    assert (fitted.shape, fitted.dtype) == ((20, 20, 3), np.uint8)
    assert (fitted[:, :7] == 0).all()
    assert (fitted[:, 13:] == (255, 128, 0)).all()


def test_whole_leaves_a_picture_of_the_right_size_alone():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    np.testing.assert_array_equal(geometry.fit(image, "whole", 16), image)


@pytest.mark.parametrize(
    "height, width, box",
    [
        (256, 256, (16, 16, 240, 240)),
        (256, 512, (16, 144, 240, 368)),  # the square starts at column 128; a 16th of it is cut off on each side
        (512, 256, (144, 16, 368, 240)),
        (640, 320, (180, 20, 460, 300)),
        (101, 150, (6.3125, 30.3125, 94.6875, 118.6875)),  # 49 columns too many: 24 on the left, 25 on the right
        (151, 100, (31.25, 6.25, 118.75, 93.75)),  # 51 rows too many: 25 above, 26 below
    ],
)
def test_seen_box_by_hand(height, width, box):
    assert geometry.seen_box("crop", height, width) == box
    assert geometry.seen_box("whole", height, width) == (0, 0, height, width)


def dot(height, width, y, x, radius):
    """A white disc on black, uint8 [height, width, 3]; y, x in pixels from the upper left corner."""
    rows, columns = np.arange(height)[:, None] + 0.5, np.arange(width) + 0.5
    disc = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
    return np.repeat(disc[..., None] * np.uint8(255), 3, axis=2)


def centre_of_mass(picture):
    """Where a picture [h, w, 3] is bright: y, x in pixels from the upper left corner."""
    weights = picture.astype(float).sum(axis=2)
    rows, columns = np.arange(len(weights)) + 0.5, np.arange(weights.shape[1]) + 0.5
    return (weights.sum(axis=1) @ rows) / weights.sum(), (weights.sum(axis=0) @ columns) / weights.sum()


@pytest.mark.parametrize("name", geometry.GEOMETRIES)
@pytest.mark.parametrize("height, width", SHAPES)
@pytest.mark.parametrize("cell", [(1, 5), (4, 3), (6, 1)])  # of the 8 x 8 that the CNN sees
def test_a_dot_is_seen_where_the_box_says(name, height, width, cell):
    top, left, bottom, right = geometry.seen_box(name, height, width)
    centre = (top + (cell[0] + 0.5) / 8 * (bottom - top), left + (cell[1] + 0.5) / 8 * (right - left))
    image = dot(height, width, *centre, radius=min(height, width) / 25)
    fitted = geometry.fit(image, name, 256)
    y, x = (place / 256 for place in centre_of_mass(fitted))
    painted = centre_of_mass(image)  # a disc of pixels is not quite where it was meant to be
    seen = (top + y * (bottom - top), left + x * (right - left))
    np.testing.assert_allclose(seen, painted, atol=min(height, width) / 400)

    # And back: the cell that sees the dot is enlarged to its place in the picture.
    cells = fitted[..., 0].reshape(8, 32, 8, 32).mean(axis=(1, 3))  # [8, 8]
    pixels = geometry.enlarge(cells, height, width, (top, left, bottom, right))
    found = np.array(np.unravel_index(pixels.argmax(), pixels.shape)) + 0.5
    np.testing.assert_allclose(found, centre, atol=1)  # the pixel nearest to the centre of the cell


@pytest.mark.parametrize("height, width", SHAPES)
def test_nothing_is_seen_of_what_lies_outside_the_box(height, width):
    top, left, bottom, right = geometry.seen_box("crop", height, width)
    reach = max(3, 3 * min(height, width) / 256) + 1  # of the Lanczos filter
    image = np.full((height, width, 3), 255, np.uint8)
    rows, columns = slice(int(top - reach), int(bottom + reach + 1)), slice(int(left - reach), int(right + reach + 1))
    image[max(0, rows.start) : rows.stop, max(0, columns.start) : columns.stop] = 0
    assert image.any()
    assert not geometry.fit(image, "crop", 299).any()


# Cells to pixels


def test_enlarge_2_x_2_by_hand():
    # Cell centres at 1 and 3 of 4 pixels; pixel centres at 0.5, 1.5, 2.5, 3.5.
    expected = [[0, 0.25, 0.75, 1], [0.5, 0.75, 1.25, 1.5], [1.5, 1.75, 2.25, 2.5], [2, 2.25, 2.75, 3]]
    pixels = geometry.enlarge(np.array([[0, 1], [2, 3]]), 4, 4)
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels, expected)


def test_enlarge_to_fewer_pixels_than_cells():
    # Pixel centres lie between two cells.
    np.testing.assert_array_equal(geometry.enlarge(np.array([[0.0, 2, 4, 8]]), 1, 2), [[1, 6]])


def test_enlarge_keeps_the_centre_of_every_cell():
    maps = np.random.default_rng(0).normal(size=(3, 5))
    pixels = geometry.enlarge(maps, 3 * 7, 5 * 9)
    np.testing.assert_array_equal(pixels[3::7, 4::9], maps.astype(np.float32))
    assert pixels.min() == maps.min().astype(np.float32)
    assert pixels.max() == maps.max().astype(np.float32)


def test_enlarge_to_every_third_row_and_every_second_column():
    maps = np.random.default_rng(0).normal(size=(2, 3, 5))
    for box in (None, (1, 2, 7, 12)):
        pixels = geometry.enlarge(maps, 9, 13, box)
        np.testing.assert_array_equal(geometry.enlarge(maps, 9, 13, box, every=(3, 2)), pixels[:, ::3, ::2])


@pytest.mark.parametrize("box", [(1, 2, 7, 12), np.array([1.0, 2.0, 7.0, 12.0])])  # an array: as stored in .npz
def test_enlarge_into_a_box(box):
    maps = np.array([[1.0, 2], [3, 5]])
    pixels = geometry.enlarge(maps, 9, 13, box, fill=-7)
    np.testing.assert_array_equal(pixels[[2, 5]][:, [4, 9]], maps)  # cells of 3 x 5 pixels
    np.testing.assert_array_equal(pixels[1:7, 2:12], geometry.enlarge(maps, 6, 10))
    outside = np.ones((9, 13), bool)
    outside[1:7, 2:12] = False
    assert (pixels[outside] == -7).all()
    np.testing.assert_array_equal(geometry.enlarge(maps, 9, 13, box)[outside], 0)


def test_a_pixel_belongs_to_the_box_if_its_centre_does():
    pixels = geometry.enlarge(np.ones((1, 1)), 5, 5, (0.5, 0.6, 3.5, 3.6))
    expected = np.zeros((5, 5))
    expected[0:3, 1:4] = 1
    np.testing.assert_array_equal(pixels, expected)


def test_enlarge_a_single_cell_and_a_single_row():
    np.testing.assert_array_equal(geometry.enlarge(np.full((1, 1), 3.0), 2, 3), np.full((2, 3), 3))
    np.testing.assert_array_equal(geometry.enlarge(np.array([[0.0, 1]]), 3, 4), [[0, 0.25, 0.75, 1]] * 3)
    np.testing.assert_array_equal(geometry.enlarge(np.array([[0.0], [1]]), 4, 2), np.array([[0, 0.25, 0.75, 1]] * 2).T)


def test_enlarge_takes_any_leading_axes():
    maps = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    before = maps.copy()
    pixels = geometry.enlarge(maps, 11, 13, (1.5, 2, 9, 12.5), fill=np.inf)
    assert pixels.shape == (2, 3, 11, 13)
    for index in np.ndindex(2, 3):
        alone = geometry.enlarge(maps[index], 11, 13, (1.5, 2, 9, 12.5), fill=np.inf)
        np.testing.assert_allclose(pixels[index], alone, rtol=1e-6)
    np.testing.assert_array_equal(maps, before)


def test_shares_of_cells_that_a_rectangle_covers():
    box = 10, 20, 30, 60  # 2 x 4 cells of 10 x 10 pixels
    covered = geometry.shares_covered((15, 25, 30, 50), box, 2, 4)
    np.testing.assert_allclose(covered, [[0.25, 0.5, 0.5, 0], [0.5, 1, 1, 0]])
    assert geometry.shares_covered((0, 0, 10, 20), box, 2, 4).max() == 0
    assert geometry.shares_covered((0, 0, 99, 99), box, 2, 4).min() == 1
