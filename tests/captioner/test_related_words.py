"""Words that are used alike, on captions where one can see which they are."""

from captioner.related_words import related_words

CAPTIONS = [
    *["a dog runs on the grass", "a cat sleeps on the sofa", "the dog runs fast"] * 30,
    *["a child plays the guitar", "a man plays the guitar loudly"] * 30,
    "a poodle runs on the grass",
    "a woman plays the cello loudly",
    "zzz",
]
KNOWN = ["a", "dog", "cat", "runs", "sleeps", "on", "the", "grass", "sofa", "child", "man", "plays", "guitar", "loudly"]


def test_words_with_the_same_neighbours_are_related():
    related = related_words(CAPTIONS, KNOWN)
    assert related["poodle"][0] == "dog"
    assert related["cello"][0] == "guitar"
    assert set(related["woman"][:2]) == {"child", "man"}
    assert "zzz" not in related  # it has no neighbour
    assert not set(related) & set(KNOWN)
    assert all(len(words) <= 3 and set(words) <= set(KNOWN) for words in related.values())


def test_nothing_unknown_nothing_related():
    assert related_words(["a dog", "a cat"], ["a", "dog", "cat"]) == {}
    assert related_words([], ["a"]) == {}


def test_rare_known_words_are_no_first_choice():
    captions = [*CAPTIONS, "a hound runs on the grass"]
    assert related_words(captions, [*KNOWN, "hound"])["poodle"][0] == "dog"
