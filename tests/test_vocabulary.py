"""Words and their ids."""

import json
from pathlib import Path

import numpy as np
import pytest

import data_loader
from data_loader import Vocabulary

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden"


@pytest.mark.parametrize(
    "sentence, words",
    [
        ("A man is driving a car.", ["a", "man", "is", "driving", "a", "car"]),
        ("  running, jumping ,and\tÉlise...\n", ["running", "jumping", "and", "élise"]),
        ("2.5 u.s. it's (mid-air)", ["25", "us", "it's", "(mid-air)"]),
        (" . ,, ", []),
        ("", []),
    ],
)
def test_tokenize(sentence, words):
    assert data_loader.tokenize(sentence) == words


@pytest.mark.parametrize(
    "sentence, words",
    [
        ("cafe\u0301 caf\u00e9 CAFE\u0301", ["café", "café", "café"]),
        ("the man\u2019s do\u200bg, \ufeffa \u201cdog\u201d", ["the", "man's", "dog", "a", '"dog"']),
        ("na\u00adive\u00a0dog", ["naive", "dog"]),
    ],
)
def test_words_that_look_the_same_are_the_same(sentence, words):
    assert data_loader.tokenize(sentence) == words


@pytest.mark.parametrize(
    "word, read",
    [
        ("dog", ["dog"]),
        ("dog!", ["dog"]),
        ('("dog?")', ["dog"]),
        ("\u00bfdog\uff1f\u2026", ["dog"]),
        ("man's", ["man", "'s"]),
        ("don't!", ["do", "n't"]),
        ("dogs'", ["dogs"]),
        ("t-shirt", ["t-shirt"]),
        ("-", ["-"]),
        ("!?", []),
        ("unknown!", ["unknown"]),
        ("man-dog", ["man-dog"]),
    ],
)
def test_a_word_of_a_question_is_read_as_captions_have_it(word, read):
    known = Vocabulary([".", "dog", "man", "'s", "do", "n't", "t-shirt", "-"])
    assert known.read(word) == read


def test_vocabulary_by_hand():
    captions = ["The dog.", "a dog , a cat", "A bird"]
    assert data_loader.count_words(captions) == {"a": 3, "dog": 2, "the": 1, "cat": 1, "bird": 1}
    vocabulary = Vocabulary.of_captions(captions, 1)
    assert vocabulary.words == [".", "a", "dog", "bird", "cat", "the"]  # by falling count, then by name
    assert vocabulary.ids == {".": 0, "a": 1, "dog": 2, "bird": 3, "cat": 4, "the": 5}
    assert len(vocabulary) == 6
    assert Vocabulary.of_captions(captions, 2).words == [".", "a", "dog"]
    assert Vocabulary.of_captions(captions, 4).words == ["."]
    bias = vocabulary.output_bias(captions)  # three end tokens, as many as "a": the largest count
    assert bias.dtype == np.float32
    np.testing.assert_allclose(bias, np.log([1, 1, 2 / 3, 1 / 3, 1 / 3, 1 / 3]), rtol=1e-6)


@pytest.mark.parametrize("words", [[], ["a", "."], [".", "a", "a"]])
def test_words_that_are_no_vocabulary(words):
    with pytest.raises(ValueError, match=r"a vocabulary is '\.' and then different words"):
        Vocabulary(words)


def test_encode():
    vocabulary = Vocabulary([".", "a", "dog", "runs"])

    def encoded(caption, n_lstm_step=5):
        ids, mask = vocabulary.encode(caption, n_lstm_step)
        assert (ids.dtype, mask.dtype) == (np.int32, np.float32)
        return ids.tolist(), mask.tolist()

    assert encoded("A dog runs.") == ([1, 2, 3, 0, 0], [1, 1, 1, 1, 0])  # the mask has the end token
    assert encoded("A big dog, runs fast") == ([1, 2, 3, 0, 0], [1, 1, 1, 1, 0])  # unknown words are left out
    assert encoded("a dog runs a") == ([1, 2, 3, 1, 0], [1, 1, 1, 1, 1])
    assert encoded("big a dog runs a dog") == ([1, 2, 3, 1, 0], [1, 1, 1, 1, 1])  # four known words, whatever else
    assert encoded("a dog", 2) == ([1, 0], [1, 1])
    assert encoded("the cat") == encoded(".") == ([0, 0, 0, 0, 0], [1, 0, 0, 0, 0])
    assert vocabulary.decode([1, 2, 3]) == "a dog runs"
    assert vocabulary.decode([]) == ""


def test_stand_in_is_spelled_alike_or_used_alike():
    vocabulary = Vocabulary(
        [".", "dog", "snowboarder", "car"], related={"snowboarders": ["car"], "poodle": ["dog", "car"]}
    )
    assert vocabulary.stand_in("snowboarders") == "snowboarder"
    assert vocabulary.stand_in("poodle") == "dog"
    assert vocabulary.stand_in("xyz") is None


def test_nearest():
    vocabulary = Vocabulary([".", "square", "squares", "red", "squirrel"])
    assert vocabulary.nearest("sqare") == ["square", "squares", "squirrel"]
    assert vocabulary.nearest("sqare", n=1) == ["square"]
    assert vocabulary.nearest(".") == vocabulary.nearest("xyz") == []


@pytest.fixture(params=["threshold_1", "threshold_3"])
def golden_words(request):
    path = GOLDEN / "golden_vocab.json"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    golden = json.loads(path.read_text(encoding="utf-8"))
    return golden | golden[request.param]


def test_words_counts_and_bias_of_the_released_program(golden_words):
    """All but '', which double spaces and lone full stops made a word there. It was not the most frequent one, so that
    the bias of the others is the same without it."""
    vocabulary = Vocabulary.of_captions(golden_words["captions"], golden_words["threshold"])
    assert sorted(vocabulary.words[1:]) == [word for word in golden_words["vocab_words"] if word != ""]
    counts = {word: count for word, count in golden_words["word_counts_all"].items() if word != ""}
    assert data_loader.count_words(golden_words["captions"]) == counts
    expected = golden_words["bias_by_word"]
    assert "" in expected and max(expected, key=expected.get) != ""
    bias = dict(zip(vocabulary.words, vocabulary.output_bias(golden_words["captions"]), strict=True))
    assert set(bias) == set(expected) - {""}
    for word in bias:
        assert bias[word] == pytest.approx(expected[word], abs=1e-6), word
    # One end token for each sentence, and "a" has the bias 0.
    assert bias["."] == pytest.approx(np.log(golden_words["n_sentences"] / counts["a"]), abs=1e-6)


def test_training_rows_of_the_released_program(golden_words):
    """All but a few are the same. There nobody cleaned the captions of training, so that a word with . or , in it is
    unknown and '' is a word; and a caption is cut to L - 1 words before the unknown ones are left out. A caption that
    has been treated like that is encoded as it is there."""
    vocabulary = Vocabulary.of_captions(golden_words["captions"], golden_words["threshold"])
    n_lstm_step, n_same = golden_words["n_lstm_step"], 0
    rows = [row for batch in golden_words["train_batches"] for row in batch]
    assert [row["caption"] for row in rows] == golden_words["captions"]
    for row in rows:
        ids, mask = vocabulary.encode(row["caption"], n_lstm_step)
        n_same += [vocabulary.words[k] for k in ids] == row["matrix_words"] and mask.tolist() == row["mask"]

        words = row["caption"].lower().split(" ")[: n_lstm_step - 1]
        treated = " ".join(word for word in words if "." not in word and "," not in word)
        ids, mask = vocabulary.encode(treated, n_lstm_step)
        n_known, n_known_there = int(mask.sum()) - 1, int(sum(row["mask"])) - 1  # without the end token
        known_there = [word for word in row["matrix_words"][:n_known_there] if word != ""]
        assert vocabulary.decode(ids[:n_known]) == " ".join(known_there)
    assert (len(rows), n_same) == (40, {1: 32, 3: 30}[golden_words["threshold"]])
