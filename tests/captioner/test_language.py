"""Captions without pictures: how they are read, and what a captioner has of them before it sees a picture."""

from pathlib import Path

import numpy as np
import pytest

from captioner import language, training
from system.errors import UserError
from tests.small_runs import config_of, trained

pytestmark = pytest.mark.usefixtures("workplace")


def test_captions_of_lines_and_of_token_files(tmp_path):
    (tmp_path / "lines.txt").write_text("A dog.\n\n  A cat sits .  \n")
    (tmp_path / "some.token").write_text("1.jpg#0\tTwo dogs run .\n1.jpg#1\tA run.\n")
    read = language.read_captions([tmp_path / "lines.txt", tmp_path / "some.token"])
    assert read == ["A dog.", "A cat sits .", "Two dogs run .", "A run."]


@pytest.mark.parametrize("content, message", [(None, "missing"), ("\n \n", "has no caption")])
def test_file_without_captions_is_told_before_anything_is_removed(tmp_path, content, message):
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_text(content)
    config = config_of("kept", f"caption_text={path}")
    kept = Path(config.experiment, "model-3")
    kept.mkdir(parents=True, exist_ok=True)
    with pytest.raises(UserError, match=f"text.txt.*{message}"):
        training.start(config)
    assert kept.is_dir()


@pytest.mark.slow
def test_captioner_knows_the_wording_before_its_first_step(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("the red one\nwhat comes before blue is known\n" * 100)
    plain = training.start(config_of("plain"))
    reader = training.start(config_of("reader", f"caption_text={path}"))
    assert reader.step == 0 and reader.vocabulary.words == plain.vocabulary.words
    ids, mask = plain.vocabulary.encode("the red one", 8)
    nothing = np.zeros((1, 1, 3), np.float32)
    losses = [float(one.model.caption_loss(nothing, ids[None], mask[None])) for one in (plain, reader)]
    assert losses[1] < losses[0] / 2
    assert "known" in reader.vocabulary.related  # a word of the text alone, with those that are used like it
    assert "known" not in plain.vocabulary.related


@pytest.mark.slow
def test_text_is_read_in_the_same_way_each_time(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("the red one\na blue square\nthe square\n" * 9)
    first, second = (trained(name, f"caption_text={path}")[1] for name in ("once", "twice"))
    for name, array in first[0].items():
        np.testing.assert_array_equal(array, second[0][name])
