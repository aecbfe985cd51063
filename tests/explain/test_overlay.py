"""The pictures: heat where the cell is, text inside its tile, the right frames. Places are worked out by hand."""

import numpy as np
import pytest
from scipy import ndimage

from explain import overlay


def grey(height, width, value):
    return np.full((height, width, 3), value, np.uint8)


def tiles(layout, size, n_words):
    """The tiles' slices of the picture, found as what changes with the frame (and encloses the box's outline)."""
    maps = np.zeros((n_words, 8, 8))
    changes = layout.draw(grey(*size, 0), maps)[..., 0] != layout.draw(grey(*size, 255), maps)[..., 0]
    return ndimage.find_objects(ndimage.label(ndimage.binary_fill_holes(changes))[0])


def opacity(layout, size, maps):
    """How much of the frame the heat hides: white frame less black frame is what is left of it."""
    white, black = layout.draw(grey(*size, 255), maps), layout.draw(grey(*size, 0), maps)
    return 1 - (white[..., 0].astype(float) - black[..., 0]) / 255


def differs(one, other):
    return (one != other).any(axis=-1)


def span(mask):
    """First and last row, first and last column of what is true."""
    rows, columns = np.nonzero(mask)
    return rows.min(), rows.max(), columns.min(), columns.max()


def test_a_bar_under_each_word_is_as_long_as_its_gain():
    size, maps = (180, 360), np.zeros((4, 8, 8))
    plain = overlay.Layout(["a", "man", "is", "here"], *size)
    layout = overlay.Layout(["a", "man", "is", "here"], *size, gains=[-1, 2, overlay.FULL_BAR, 100])
    drawn = layout.draw(grey(*size, 0), maps)
    bars = differs(drawn, plain.draw(grey(*size, 0), maps))
    full = (drawn == overlay.CURVE).all(axis=-1)
    for (rows, columns), share in zip(tiles(layout, size, 4)[1:], (0, 2 / overlay.FULL_BAR, 1, 1), strict=True):
        above = slice(rows.start - overlay.BAR, rows.start), columns
        assert bars[above].all()
        np.testing.assert_array_equal(full[above].mean(axis=1), [share] * overlay.BAR)
        bars[above] = False
    assert not bars.any()


@pytest.mark.parametrize("word", [0, 1, 2])
def test_a_hot_cell_is_hottest_at_its_centre(word):
    # 160 x 320 becomes a tile of 180 x 360, a cell 22.5 x 45; the centre of cell (2, 5), at (56.25, 247.5), is in
    # pixel (56, 247)
    size, maps = (160, 320), np.zeros((3, 8, 8))
    maps[word, 2, 5] = 1
    layout = overlay.Layout(["a", "man", "talks"], *size)
    heat = opacity(layout, size, maps)
    places = tiles(layout, size, 3)
    assert len(places) == 4
    for k, place in enumerate(places):
        tile = heat[place]
        assert tile.shape == (180, 360)
        if k == 1 + word:
            assert np.argwhere(tile == tile.max()).tolist() == [[56, 247]]
            assert tile.max() == pytest.approx(overlay.OPACITY, abs=0.02)
        else:
            assert tile.max() == 0


def test_a_hot_cell_is_placed_within_the_box():
    # 200 x 400 becomes 180 x 360 and the box 18..162 x 108..252, a cell 18 x 18; the centre of cell (2, 5), at
    # (63, 207), is the corner of four pixels; within the box that is (45, 99)
    size, maps = (200, 400), np.zeros((1, 8, 8))
    maps[0, 2, 5] = 1
    layout = overlay.Layout(["man"], *size, box=(20, 120, 180, 280))
    seen = opacity(layout, size, maps)[tiles(layout, size, 1)[1]][18:162, 108:252]
    assert seen.shape == (144, 144)
    assert np.argwhere(seen == seen.max()).tolist() == [[44, 98], [44, 99], [45, 98], [45, 99]]


def test_outside_the_box_is_no_colour():
    size = (200, 400)
    layout = overlay.Layout(["man"], *size, box=(20, 120, 180, 280))
    frame = grey(*size, 100)
    cold, hot = layout.draw(frame, np.zeros((1, 8, 8))), layout.draw(frame, np.ones((1, 8, 8)))
    place = tiles(layout, size, 1)[1]
    inside = np.zeros(cold.shape[:2], bool)
    inside[place][18:162, 108:252] = True
    np.testing.assert_array_equal(differs(hot, cold), inside)
    tile = cold[place]
    assert (tile[18:162, 108:252] == 100).all()
    assert (tile[17, 107:253] == overlay.INK).all()  # the outline runs just outside the box
    assert (tile[:17] == 50).all()  # and beyond it the frame is dimmed
    assert (tile[:, 253:] == 50).all()


def test_no_saliency_leaves_the_frame_as_it_is():
    frame = np.random.default_rng(0).integers(0, 256, (180, 360, 3), np.uint8)
    layout = overlay.Layout(["man"], 180, 360)
    picture = layout.draw(frame, np.zeros((1, 8, 8)))
    for place in tiles(layout, (180, 360), 1):
        np.testing.assert_array_equal(picture[place], frame)


def test_saliency_out_of_range_is_clipped():
    layout, frame = overlay.Layout(["man"], 180, 360), grey(180, 360, 100)
    for value, limit in [(1.2, 1), (-0.2, 0)]:
        pictures = [layout.draw(frame, np.full((1, 8, 8), v)) for v in (value, limit)]
        np.testing.assert_array_equal(*pictures)


@pytest.mark.parametrize("n_words", [1, 2, 6, 20])
@pytest.mark.parametrize("size", [(48, 64), (641, 361), (360, 640), (721, 1281)])
def test_pictures_are_even_and_not_too_wide(n_words, size):
    layout = overlay.Layout(["word"] * n_words, *size, curves=np.zeros((2, n_words)), title="a sentence")
    picture = layout.draw(grey(*size, 9), np.zeros((n_words, 16, 16)), 1)
    assert picture.shape == (layout.height, layout.width, 3)
    assert picture.dtype == np.uint8
    assert layout.height % 2 == layout.width % 2 == 0
    assert layout.width <= 1280
    places = tiles(layout, size, n_words)
    assert len(places) == 1 + n_words
    for rows, columns in places:
        height, width = rows.stop - rows.start, columns.stop - columns.start
        assert 200 <= max(height, width) <= 360
        assert width == pytest.approx(height * size[1] / size[0], abs=2)


@pytest.mark.parametrize(("n_words", "rows", "columns"), [(1, 1, 2), (3, 2, 2), (5, 2, 3), (6, 2, 4), (20, 4, 6)])
def test_the_grid_is_balanced(n_words, rows, columns):
    layout = overlay.Layout(["word"] * n_words, 360, 640, curves=np.zeros((2, n_words)))
    places = tiles(layout, (360, 640), n_words)
    assert len({y.start for y, _ in places}) == rows
    assert len({x.start for _, x in places}) == columns


def test_a_long_word_stays_over_its_tile():
    def picture(*words):
        return overlay.Layout(words, 300, 200).draw(grey(300, 200, 0), np.zeros((2, 8, 8)))

    layout = overlay.Layout(["", ""], 300, 200)
    rows, columns = tiles(layout, (300, 200), 2)[1]
    top, bottom, left, right = span(differs(picture("w" * 80, ""), picture("", "")))
    assert columns.start <= left < right < columns.stop
    assert right - left > 0.9 * (columns.stop - columns.start)
    assert rows.start - overlay.LABEL <= top < bottom < rows.start


@pytest.mark.parametrize("title", ["a man " * 60, "w" * 300])
def test_a_long_sentence_keeps_clear_of_the_colour_bar(title):
    frame, maps = grey(300, 200, 0), np.zeros((1, 8, 8))
    titled = overlay.Layout(["man"], 300, 200, title=title).draw(frame, maps)
    plain = overlay.Layout(["man"], 300, 200).draw(frame, maps)
    bar = plain.shape[1] - overlay.MARGIN - overlay.LEGEND
    first = slice(0, overlay.MARGIN + overlay.LINE)  # the line that both have
    assert differs(titled, titled[:1, :1])[first, :bar].any()
    assert not differs(plain, plain[:1, :1])[first, :bar].any()
    np.testing.assert_array_equal(titled[first, bar:], plain[first, bar:])


def test_words_left_out_have_a_line_of_their_own():
    one, other = (overlay.Layout(["man"], 300, 200, title="a man", skipped=words) for words in ([], ["zebra"]))
    assert other.height == one.height + overlay.LINE


def test_words_of_other_scripts_are_told_apart():
    frame, maps = grey(300, 200, 0), np.zeros((1, 8, 8))
    one, other = (overlay.Layout([word], 300, 200).draw(frame, maps) for word in ("мама", "папа"))
    assert (one != other).any()


def test_the_cursor_moves_along_the_curve():
    # a tile of 180 x 360: x runs from 3 to 356, y from 36 (lowest) to 3 (highest) in the strip of 40 below
    curves = np.array([[-9.0, 5.0], [-1.0, 5.0]])  # a rising word and a constant one, which stays at the bottom
    layout = overlay.Layout(["man", "a"], 180, 360, curves=curves)
    frame, maps = grey(180, 360, 0), np.zeros((2, 8, 8))
    still, first = layout.draw(frame, maps), layout.draw(frame, maps, 0)
    for cursor, x, heights in [(0, 3, (36, 36)), (1, 356, (3, 36))]:
        expected = np.zeros(still.shape[:2], bool)
        for (rows, columns), y in zip(tiles(layout, (180, 360), 2)[1:], heights, strict=True):
            strip = expected[rows.stop : rows.stop + 40, columns]
            strip[:, x] = True
            strip[y - 2 : y + 3, x - 2 : x + 3] = True
        np.testing.assert_array_equal(differs(layout.draw(frame, maps, cursor), still), expected)
    np.testing.assert_array_equal(layout.draw(frame, maps, 0), first)  # an earlier cursor leaves no trace


def test_most_salient_frames_are_spread_and_in_order_of_time():
    scores = np.zeros((20, 2))
    scores[10:14, 0] = 9, 8, 7, 6  # one peak; two frames stand at least 20 / (4 * 2) apart, that is 3
    scores[[17, 3], 1] = 9, 8
    assert overlay.most_salient_frames(scores, 2).tolist() == [[10, 13], [3, 17]]
    assert overlay.most_salient_frames(scores[:2], 5).tolist() == [[0, 1], [0, 1]]


@pytest.mark.parametrize("n_frames", [1, 4, 5, 6, 21, 22, 41, 100])
def test_most_salient_frames_always_finds_n(n_frames):
    scores = np.random.default_rng(n_frames).random((n_frames, 30))
    chosen = overlay.most_salient_frames(scores, 5)
    assert chosen.shape == (30, min(5, n_frames))
    assert (np.diff(chosen, axis=1) >= max(n_frames / 20, 1)).all()
    assert (chosen == scores.argmax(axis=0)[:, None]).any(axis=1).all()


def test_contact_sheet_shows_the_chosen_frames_under_their_own_maps():
    colours = {1: (0, 0, 255), 2: (0, 255, 0), 9: (0, 255, 255)}  # unlike text, curve and colour bar
    frames = {k: np.full((90, 160, 3), colour, np.uint8) for k, colour in colours.items()}  # no others may be read
    maps = np.zeros((10, 2, 8, 8))
    maps[9, 1] = 1
    chosen, times = np.array([[1, 9], [2, 9]]), np.arange(10) / 4

    def sheet(maps, times=times):
        return overlay.contact_sheet(
            frames, maps, ["man", "talks"], np.eye(10)[:, :2], times, chosen, title="a man talks"
        )

    picture = sheet(maps)
    assert picture.shape[0] % 2 == picture.shape[1] % 2 == 0
    one, two, nine = (span((picture == colours[k]).all(axis=-1)) for k in colours)  # nine is plain for "man" alone
    assert one[:2] == nine[:2]
    assert one[2:] == two[2:]
    assert one[3] < nine[2]
    assert one[1] < two[0]
    top, bottom, left, right = span(differs(picture, sheet(np.zeros_like(maps))))
    assert (top, bottom, left, right) == (*two[:2], *nine[2:])
    top, bottom, left, right = span(differs(picture, sheet(maps, times + (np.arange(10) == 1))))
    assert one[0] - overlay.LABEL <= top < bottom < one[0]
    assert one[2] < left <= right < one[3]
