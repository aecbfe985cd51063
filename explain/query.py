"""The words to explain: a sentence's, a phrase's, or those that the captioner itself writes."""

import dataclasses

import numpy as np

import data_loader
from system import console
from system.errors import UserError

MOST_TOLD = 5  # unknown words, in one message
MOST_NEAR = 6  # known words, beside an unknown one
MOST_WORDS = 1000  # of a sentence, known or not
UNKNOWN = ("error", "skip", "nearest")  # what can become of a word that the captioner does not know


class UnknownWords(UserError):
    """Words that the captioner does not know. near: of each the known ones that come near it, dict of lists."""

    def __init__(self, message, near):
        super().__init__(message)
        self.near = near


@dataclasses.dataclass(frozen=True)
class Query:
    """The words to explain: `words` [T] with their `ids`, and p_t if the words are the model's own.

    Of the sentence's other words, which the captioner does not know: those left out, and those read as another word.
    """

    sentence: str
    words: list
    ids: list
    skipped: list = dataclasses.field(default_factory=list)
    read_as: dict = dataclasses.field(default_factory=dict)
    target_log_probs: np.ndarray | None = None  # [T, V]
    against: list | None = None  # [T]: the word that each is compared with (contrast.py), itself where with none
    pieces: list | None = None  # [T]: the places of each word's pieces among `ids`, where words are written in pieces

    @property
    def is_own(self):
        """Whether the words are the captioner's own."""
        return self.target_log_probs is not None

    @property
    def places(self):
        """The places of the words that are explained: all, or those that are compared with another word."""
        return [t for t, word in enumerate(self.words) if self.against is None or self.against[t] != word]

    def by_word(self, values, axis, total=False):
        """Values of `ids` along an axis -> those of the words that are explained, T in all.

        Of a word in several pieces the mean, or the `total`: log q of the word is the sum of its pieces' (the chain
        rule), and so are its maps; their mean is the same map, in nats a piece, whose scale does not grow with the
        pieces.
        """
        values = np.moveaxis(np.asarray(values), axis, 0)  # [pieces, ...]
        if self.pieces is None:
            found = values[self.places]
        else:
            found = np.stack([values[self.pieces[t]].sum(axis=0) for t in self.places])
            if not total:
                counts = np.array([len(self.pieces[t]) for t in self.places], found.dtype)
                found = found / counts.reshape(-1, *[1] * (found.ndim - 1))
        return np.moveaxis(found, 0, axis)

    @property
    def labels(self):
        """What is explained, at each of the `places`."""
        if self.against is None:
            return self.words
        return [f"{self.words[t]}, not {self.against[t]}" for t in self.places]

    @property
    def notes(self):
        """What became of the words that the captioner does not know: lines to tell."""
        lines = [
            f"'{console.shown(word)}' is not known to the captioner, read as '{known}'"
            for word, known in self.read_as.items()
        ]
        if self.skipped:
            lines.append(f"left out, not known to the captioner: {', '.join(map(console.shown, self.skipped))}")
        return lines

    @property
    def title(self):
        """The sentence, with what is read instead of some of its words."""
        changes = ", ".join(f"{word} is read as {known}" for word, known in self.read_as.items())
        return f"{self.sentence}  ({changes})" if changes else self.sentence


def parse_sentence(sentence, vocabulary, n_lstm_step, unknown="error"):
    """A sentence -> Query. What becomes of a word that the captioner does not know is for `unknown` to say:

    "error", "skip" (leave it out) or "nearest" (read `Vocabulary.stand_in` instead). UserError for such a word under
    "error", or without a stand-in; where no word is left; and where there are more than n_lstm_step.
    """
    words = [part for word in data_loader.tokenize(sentence) for part in vocabulary.read(word)]
    if len(words) > MOST_WORDS:
        raise UserError(f"the sentence has {len(words)} words; this captioner takes at most {n_lstm_step}")
    strange = [word for word in dict.fromkeys(words) if word not in vocabulary.ids]
    read_as = {}
    if unknown == "nearest":
        read_as = {word: known for word in strange if (known := vocabulary.stand_in(word))}
    lost = [word for word in strange if word not in read_as]
    if lost and unknown != "skip":
        told = [_described(word, vocabulary) for word in lost[:MOST_TOLD]]
        if len(lost) > MOST_TOLD:
            told.append(f"{len(lost) - MOST_TOLD} more")
        nearest = ", or take the nearest words (--unknown nearest)" if unknown == "error" else ""
        raise UnknownWords(
            f"the captioner does not know {'; '.join(told)}; change the sentence, leave them out (--unknown skip)"
            f"{nearest}",
            {word: _near(word, vocabulary) if k < MOST_TOLD else [] for k, word in enumerate(lost)},
        )
    known = [read_as.get(word, word) for word in words if word not in lost]
    if not known:
        raise UserError(f"the sentence '{console.shown(sentence)}' has no word that the captioner knows")
    if len(known) > n_lstm_step:
        raise UserError(f"the sentence has {len(known)} words; this captioner takes at most {n_lstm_step}")
    skipped = [word for word in words if word in lost]
    return Query(sentence, known, [vocabulary.ids[word] for word in known], skipped, read_as)


def known_word(word, vocabulary):
    """A word as the captioner writes it; UserError where it is not one word that the captioner knows."""
    words = [part for one in data_loader.tokenize(word) for part in vocabulary.read(one)]
    if len(words) != 1:
        raise UserError(f"'{console.shown(word)}' is not one word")
    if words[0] not in vocabulary.ids:
        told = f"the captioner does not know {_described(words[0], vocabulary)}; take another word"
        raise UnknownWords(told, {words[0]: _near(words[0], vocabulary)})
    return words[0]


def _near(word, vocabulary):
    """The known words that come near an unknown one, in spelling and in use."""
    return list(dict.fromkeys([*vocabulary.nearest(word, MOST_NEAR), *vocabulary.related.get(word, [])]))


def _described(word, vocabulary):
    """An unknown word with the known ones that come near it."""
    hints = {"spelled like": vocabulary.nearest(word), "used like": vocabulary.related.get(word)}
    found = "; ".join(f"{how}: {', '.join(words)}" for how, words in hints.items() if words)
    return f"'{console.shown(word)}' ({found or 'none comes near it'})"


def phrase_steps(saved, words, phrases):
    """A caption as the captioner reads it, and the steps of each phrase in that -> Query of T words, list of lists.

    words of the caption; phrases, each with the `places` of its words. For a word that the captioner does not know its
    stand-in is read, else it is left out; what lies beyond the captioner's longest sentence is, too. So a phrase can be
    without steps.
    """
    vocabulary = saved.vocabulary
    read = [word if word in vocabulary.ids else vocabulary.stand_in(word) for word in words]
    known = [place for place, word in enumerate(read) if word is not None][: saved.config.n_lstm_step]
    steps = [[known.index(place) for place in phrase.places if place in known] for phrase in phrases]
    words = [read[place] for place in known]
    return Query(" ".join(words), words, [vocabulary.ids[word] for word in words]), steps
