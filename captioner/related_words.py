"""Known words that are used like an unknown one: what to say to a captioner instead of a word that it has not learnt.

Two words are alike as far as they share neighbours in the captions (Levy, Goldberg, Dagan, "Improving Distributional
Similarity with Lessons Learned from Word Embeddings", TACL 2015).
"""

import collections

import numpy as np
import scipy.sparse

from data_loader import count_words, tokenize

REACH = 2  # neighbours so many places before and after a word count
SMOOTHING = 0.75  # exponent of the neighbours' counts, which takes weight from rare neighbours
AT_ONCE = 256  # unknown words
FEW = 20  # a known word that was seen so often counts half: of rare ones the neighbours are chance


def related_words(captions, known, n=3):
    """The `n` known words that are used most like each word of the captions that is not among `known`.

    -> dict of unknown word -> list of known words, the most alike first; a word that shares no neighbour with a known
    one is left out. Likeness is the cosine of the positive pointwise mutual information with the neighbours, which are
    known words at a certain place before or after.
    """
    known = list(known)
    ids = {word: k for k, word in enumerate(known)}
    counts = collections.Counter()  # of (word, neighbour, its place)
    for caption in captions:
        words = tokenize(caption)
        for k, word in enumerate(words):
            for place in range(max(0, k - REACH), min(len(words), k + REACH + 1)):
                if place != k and words[place] in ids:
                    counts[word, ids[words[place]] + (place - k) * len(known)] += 1
    unknown = sorted({word for word, _ in counts} - set(ids))
    if not unknown:
        return {}
    rows = {word: k for k, word in enumerate([*known, *unknown])}
    places = [(rows[word], column + REACH * len(known)) for word, column in counts]
    shape = len(rows), (2 * REACH + 1) * len(known)
    matrix = scipy.sparse.csr_matrix((list(counts.values()), tuple(zip(*places, strict=True))), shape, dtype=float)
    vectors, seen = _rows_of_length_one(_positive_mutual_information(matrix)), count_words(captions)
    trust = np.array([seen[word] / (seen[word] + FEW) for word in known])
    related = {}
    for first in range(0, len(unknown), AT_ONCE):
        words = unknown[first : first + AT_ONCE]
        of_these = vectors[rows[words[0]] : rows[words[-1]] + 1]
        for word, cosines in zip(words, (of_these @ vectors[: len(known)].T).toarray(), strict=True):
            likeness = cosines * trust  # [known]
            best = np.argsort(-likeness, kind="stable")[:n]
            related[word] = [known[k] for k in best if likeness[k] > 0]
    return {word: found for word, found in related.items() if found}


def _positive_mutual_information(counts):
    """Counts [words, neighbours] -> max(0, log(p(word, neighbour) / (p(word) p(neighbour)))), sparse as they are."""
    of_words, of_neighbours = np.asarray(counts.sum(axis=1))[:, 0], np.asarray(counts.sum(axis=0))[0] ** SMOOTHING
    entries = counts.tocoo()
    expected = of_words[entries.row] * of_neighbours[entries.col] / of_neighbours.sum()
    information = np.maximum(0, np.log(entries.data / expected))
    return scipy.sparse.csr_matrix((information, (entries.row, entries.col)), counts.shape)


def _rows_of_length_one(matrix):
    norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)))[:, 0]
    return scipy.sparse.diags(1 / np.where(norms > 0, norms, 1)) @ matrix
