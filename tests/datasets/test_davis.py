"""Clips of frames with masks and a table of sentences, made on the spot."""

import numpy as np
import pytest

from datasets import davis
from system.errors import UserError
from tests.tiny_data import write_davis
from vision import writing

HEADER = "clip\tsentence\twords on the mask\n"


def test_the_sentences_of_a_table(tmp_path):
    write_davis(tmp_path)
    with open(tmp_path / "sentences.tsv", "a") as table:
        table.write("\n two \tThe man, and the Dog.\t dog, MAN ,dog\r\n")
    one, two, again = davis.read(tmp_path)
    assert (one.id, one.words, one.named) == ("one", ("a", "dog", "is", "running"), ("dog", "running"))
    assert (one.path, one.masks) == (tmp_path / "JPEGImages/one", tmp_path / "Annotations/one")
    assert (again.id, again.path, again.named) == ("two", two.path, ("dog", "man"))
    masks = one.read_masks()
    assert masks.shape == (4, 48, 64) and masks.dtype == bool
    np.testing.assert_array_equal(masks[0], np.arange(64) < 32 * np.ones((48, 1)))


def test_the_resolution_of_davis(tmp_path):
    write_davis(tmp_path)
    for part in ("JPEGImages", "Annotations"):
        (tmp_path / part).rename(tmp_path / "480p")
        (tmp_path / part).mkdir()
        (tmp_path / "480p").rename(tmp_path / part / "480p")
    assert [clip.path for clip in davis.read(tmp_path)] == [tmp_path / "JPEGImages/480p" / k for k in ("one", "two")]


@pytest.mark.parametrize(
    "table, message",
    [
        ("", r"sentences\.tsv: expected the header 'clip<TAB>sentence<TAB>words on the mask'"),
        ("one\ta dog\tdog\n", r"sentences\.tsv: expected the header"),
        (HEADER + "\none\ta dog\n", r"sentences\.tsv, line 3: expected a clip, a sentence and its words"),
        (HEADER + "one\ta dog\tcat, dog\n", r"sentences\.tsv, line 2: 'cat' is not a word of 'a dog'"),
        (HEADER + "one\ta dog\t ,\n", r"sentences\.tsv, line 2: no word on the mask is named of 'a dog'"),
        (HEADER + "none\ta dog\tdog\n", r"sentences\.tsv, line 2: there is no folder .*JPEGImages/none$"),
        (HEADER + "\ta dog\tdog\n", r"sentences\.tsv, line 2: '' cannot be a media id"),
        (HEADER + "../one\ta dog\tdog\n", r"sentences\.tsv, line 2: '\.\./one' cannot be a media id"),
    ],
)
def test_bad_tables(tmp_path, table, message):
    write_davis(tmp_path)
    (tmp_path / "sentences.tsv").write_text(table)
    with pytest.raises(UserError, match=message):
        davis.read(tmp_path)


def test_what_is_missing_is_told(tmp_path):
    with pytest.raises(UserError, match=r"sentences\.tsv is missing: expected a table with the header 'clip<TAB>"):
        davis.read(tmp_path)
    write_davis(tmp_path)
    (tmp_path / "Annotations/one/00003.png").unlink()
    with pytest.raises(UserError, match=r"JPEGImages/one has 4 frames, .*Annotations/one 3 masks"):
        davis.read(tmp_path)


def test_masks_that_show_nothing(tmp_path):
    write_davis(tmp_path)
    clip = davis.read(tmp_path)[0]
    for k in range(4):
        writing.write_image(clip.masks / f"{k:05d}.png", np.zeros((48, 64, 3), np.uint8))
    with pytest.raises(UserError, match="Annotations/one: every mask is empty"):
        clip.read_masks()
    (clip.masks / "00002.png").write_text("nothing")
    with pytest.raises(UserError, match=r"Annotations/one/00002\.png: not a picture"):
        clip.read_masks()


def test_masks_beyond_any_memory(tmp_path, monkeypatch):
    write_davis(tmp_path)
    monkeypatch.setattr(davis, "MOST_PIXELS", 3 * 48 * 64)
    with pytest.raises(UserError, match="Annotations/one: more than 9216 pixels in all"):
        davis.read(tmp_path)[0].read_masks()
