"""Sentences and phrases to words, and the captioner's own words."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import cfg
import s2vt_model
import saliency
from captioner import testing
from data_loader import Vocabulary
from datasets import annotations
from datasets.grounding import Boxes, Phrase
from explain import query
from explain.s2vt_captioner import S2VTCaptioner, own_captions
from system.errors import UserError
from vision import descriptors, media

VOCABULARY = Vocabulary([".", "a", "dog", "runs", "snowboarder"], related={"poodle": ["dog"]})


def test_unknown_words_are_refused_left_out_or_replaced():
    with pytest.raises(UserError) as refusal:
        query.parse_sentence("A poodle, a dgo runs xyzzy.", VOCABULARY, 9)
    for part in ("'poodle' (used like: dog)", "'dgo' (spelled like: dog)", "'xyzzy' (none comes near it)"):
        assert part in str(refusal.value)
    assert "--unknown skip" in str(refusal.value) and "--unknown nearest" in str(refusal.value)
    parsed = query.parse_sentence("A poodle runs xyzzy", VOCABULARY, 9, "skip")
    assert (parsed.words, parsed.ids, parsed.skipped, parsed.read_as) == (
        ["a", "runs"],
        [1, 3],
        ["poodle", "xyzzy"],
        {},
    )
    parsed = query.parse_sentence("a poodle, snowboarders", VOCABULARY, 9, "nearest")
    assert (parsed.words, parsed.skipped) == (["a", "dog", "snowboarder"], [])
    assert parsed.read_as == {"poodle": "dog", "snowboarders": "snowboarder"}
    assert parsed.title == "a poodle, snowboarders  (poodle is read as dog, snowboarders is read as snowboarder)"
    with pytest.raises(UserError, match="'xyzzy'"):
        query.parse_sentence("a poodle xyzzy", VOCABULARY, 9, "nearest")


def test_marks_around_words_and_many_words():
    parsed = query.parse_sentence("A dog runs!  (a dog)...", VOCABULARY, 9)
    assert (parsed.words, parsed.sentence) == (["a", "dog", "runs", "a", "dog"], "A dog runs!  (a dog)...")
    with pytest.raises(UserError, match="the sentence has 200000 words; this captioner takes at most 9"):
        query.parse_sentence("xyzzy " * 200_000, VOCABULARY, 9, "nearest")
    with pytest.raises(UserError, match="; 7 more; change the sentence"):
        query.parse_sentence(" ".join(f"word{k}" for k in range(12)), VOCABULARY, 9)
    with pytest.raises(UserError) as refusal:
        query.parse_sentence("x" * 1_000_000, VOCABULARY, 9)
    assert len(str(refusal.value)) < 300


def test_own_caption_is_that_of_the_stored_descriptors(tmp_path, monkeypatch):
    """A captioner that reads a pyramid reads it here, too."""
    monkeypatch.chdir(tmp_path)
    config = cfg.override(cfg.DATASETS["Flickr8k"], ["pyramid=2,1", "n_lstm_step=4", "beam_size=2"])
    model = s2vt_model.S2VT(len(VOCABULARY), 3, 6, 4, 1, 4, output_bias=[-9, 0, 0, 0, 0])  # never an empty caption
    saved = SimpleNamespace(model=model, vocabulary=VOCABULARY, config=config, folder="here", state={})
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)).save("one.png")

    def extractor(images):  # [n, 8, 8, 3] -> [n, 4, 4, 3]
        return images.reshape(-1, 4, 2, 4, 2, 3).mean(axis=(2, 4)) / 50

    extractor.input_size = 8
    sequence = S2VTCaptioner(saved).read(extractor(descriptors.cnn_inputs(config, "one.png", 8)))
    (own,) = own_captions(saved, [sequence], ["one.png"])
    grids = extractor(media.read_image("one.png")[None])  # the whole picture, which has the CNN's size
    config.descriptors_dir.mkdir(parents=True)
    np.save(config.descriptors_dir / "one.npy", descriptors.captioning_descriptors(config, grids))
    medium = annotations.Medium("one", Path("one.png"), "test", ("a dog",))
    assert testing.caption_media(saved, [medium]) == {"one": own.sentence}
    cells = grids[0].astype(np.float16).astype(np.float32).reshape(2, 2, 2, 2, 3).mean(axis=(1, 3)).reshape(4, 3)
    expected_sequence = [*cells[[0, 1, 3, 2]], cells.mean(axis=0)]
    expected = saliency.full_input_log_probs(model, expected_sequence, own.ids)
    np.testing.assert_allclose(own.target_log_probs, expected, atol=1e-3)
    assert np.ptp(expected, axis=1).min() > 0.1


def test_an_own_caption_without_a_word_names_the_medium():
    config = cfg.override(cfg.DATASETS["Flickr8k"], ["n_lstm_step=4", "beam_size=1"])
    model = s2vt_model.S2VT(len(VOCABULARY), 3, 6, 4, 1, 4, output_bias=[9, 0, 0, 0, 0])
    saved = SimpleNamespace(model=model, vocabulary=VOCABULARY, config=config, folder="here", state={})
    (error,) = own_captions(saved, [np.zeros((2, 3), np.float32)], ["one.png"])
    assert "nothing to say about one.png: give it a --sentence" in str(error)


def test_steps_of_phrases():
    config = cfg.override(cfg.DATASETS["Flickr8k"], ["n_lstm_step=4"])
    saved = SimpleNamespace(vocabulary=VOCABULARY, config=config)
    words = ("a", "xyzzy", "poodle", "runs", "a", "dog")  # "poodle" is read as dog; a fifth known word is too many
    phrases = [Phrase(places, "animals", Boxes(np.zeros((1, 4)), 1, 1)) for places in ((0, 1, 2), (3,), (1,), (4, 5))]
    read, steps = query.phrase_steps(saved, words, phrases)
    assert (read.ids, read.words, steps) == ([1, 2, 3, 1], ["a", "dog", "runs", "a"], [[0, 1], [2], [], [3]])
    read, steps = query.phrase_steps(saved, ("xyzzy",), phrases[2:3])
    assert (read.ids, steps) == ([], [[]])
