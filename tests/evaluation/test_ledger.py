"""The file of scores: what is in it, what of it is forgotten, and when it is begun anew."""

from types import SimpleNamespace

from evaluation import ledger, scoring
from tests.evaluation.test_scoring import three


def test_scores_from_a_file_are_those_that_went_into_it(tmp_path):
    """Numbers are read as they were, also those of the mean map; other questions have another file."""
    methods, stem = ["best", scoring.MEAN_MAP], tmp_path / "scores"
    given, eye = three(), SimpleNamespace(times=lambda: ({"best": [0.1]}, {True: [0.2]}))
    expected = scoring.score(eye, given, methods)
    book, other = (ledger.Ledger(stem, {"question": number}) for number in (1, 2))
    for subject in given[:2]:
        book.add(subject.id, scoring.score_subject(eye, subject, methods))
    with open(book.path, "a") as file:
        file.write('{"id": "c", "rec')  # a process was killed here
    again = ledger.Ledger(stem, {"question": 1})
    assert [again.has(name) for name in "abc"] == [True, True, False] and not other.has("a")
    partly = scoring.collect(given, again.records, methods)
    assert (partly.n_subjects, len(partly.about)) == (2, 1)
    again.add("c", scoring.score_subject(eye, given[2], methods))
    assert book.has("c")
    found = scoring.collect(given, book.records, methods)
    assert found == expected and found.seconds == {"best": [0.1] * 3} and found.cnn_seconds == {True: [0.2] * 3}
    book.begin_anew()
    assert not book.has("a") and not again.path.exists()
    assert again.has("a") and not again.was_complete("abc", 2**32)  # which looks at the file as it is now


def test_what_was_complete_is_exactly_what_is_asked_for(tmp_path):
    book = ledger.Ledger(tmp_path / "scores", {})
    assert not book.was_complete([], 2**32) and not book.was_complete("ab", 2**32)
    for name in "ab":
        book.add(name, {})
    assert [book.was_complete(names, 2**32) for names in ("a", "ab", "abc")] == [False, True, False]
    assert not book.was_complete("ab", book.path.stat().st_mtime - 1)


def test_what_could_not_be_read_is_tried_again_when_asked_for(tmp_path):
    book = ledger.Ledger(tmp_path / "scores", {})
    book.add("a", {"unread": "it is broken"})
    assert book.has("a")
    book.forget_unread()
    assert not book.has("a")
    book.add("a", {"unread": "it is broken"})
    assert book.has("a")
