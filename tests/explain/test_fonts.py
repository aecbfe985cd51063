"""Text of any length and in any script: the font that has its letters, and how much of it fits."""

import time

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.ttLib.tables._g_l_y_f import Glyph

from explain import fonts


@pytest.fixture
def dog_font(tmp_path, monkeypatch):
    """The only font that the system has: one with a dog in it, and another one that is no font."""
    builder = FontBuilder(1000)
    builder.setupGlyphOrder([".notdef", "dog", "a"])
    builder.setupCharacterMap({ord("\u72d7"): "dog", ord("a"): "a"})
    builder.setupGlyf(dict.fromkeys([".notdef", "dog", "a"], Glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys([".notdef", "dog", "a"], (1000, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupPost()
    path = tmp_path / "dog.ttf"
    builder.save(path)
    (tmp_path / "none.ttf").write_text("no font")
    monkeypatch.setattr(fonts, "_system_fonts", lambda: [str(tmp_path / "none.ttf"), str(path)])
    fonts._best_file.cache_clear()
    yield str(path)
    fonts._best_file.cache_clear()


def test_the_font_that_has_the_letters_is_taken(dog_font):
    assert fonts.font(15, "a dog, собака, κύων").path == fonts._dejavu(bold=False)
    assert fonts.font(15, "a dog", bold=True).path == fonts._dejavu(bold=True)
    assert fonts.font(15, "\u72d7 a").path == dog_font
    assert fonts.missing("\u72d7 a dog") == "\u72d7"  # no font has both: that with most of the letters is taken
    assert fonts.missing("a \u72d7") == fonts.missing("a dog\n") == ""
    assert fonts.missing("\u732b a \u732b") == "\u732b"


def test_a_text_is_cut_where_it_no_longer_fits():
    face = fonts.font(15, "x")
    whole = "a rather long text that does not fit"
    assert fonts.shorten(whole, 15, 1000) == whole
    for width in (20, 57, 100, 200):
        cut = fonts.shorten(whole, 15, width)
        assert cut.endswith("\u2026")
        assert whole.startswith(cut[:-1])
        assert face.getlength(cut) <= width < face.getlength(whole[: len(cut)] + "\u2026")
    assert fonts.shorten(whole, 15, 1) == "\u2026"


def test_lines():
    assert fonts.wrap("a b", 15, 1000, 3) == ["a b"]
    assert fonts.wrap("", 15, 100, 3) == []
    lines = fonts.wrap("the quick brown fox jumps over the lazy dog", 15, 100, 20)
    assert " ".join(lines) == "the quick brown fox jumps over the lazy dog"
    assert len(lines) > 3
    assert fonts.wrap("the quick brown fox jumps over the lazy dog", 15, 100, 2)[0] == lines[0]
    assert len(fonts.wrap("the quick brown fox jumps over the lazy dog", 15, 100, 2)) == 2
    assert fonts.wrap("the quick brown fox jumps over the lazy dog", 15, 100, 2)[1].endswith("\u2026")


@pytest.mark.parametrize("text", ["x" * 20_000, "x" * 5_000_000, "word " * 1_000_000])
def test_text_without_end_costs_nothing(text):
    start = time.process_time()
    assert len(fonts.shorten(text, 15, 200)) < 40
    assert len(fonts.wrap(text, 17, 1000, 8)) <= 8
    assert fonts.missing(text) == ""
    assert time.process_time() - start < 5
