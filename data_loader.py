"""What training reads: words and their ids, descriptors as sequences, and batches of both."""

import collections
import difflib
import itertools
import re
import unicodedata

import numpy as np

from system.errors import UserError

# Words


# Apostrophes and quotation marks as typesetters write them, and what has no width.
LOOK_ALIKES = str.maketrans(
    {**dict.fromkeys("\u2018\u2019\u201b\u02bc", "'"), **dict.fromkeys("\u201c\u201d", '"')}
    | dict.fromkeys("\u200b\u2060\ufeff\u00ad")
)


def normalize(text):
    """Text in which what looks the same is the same: composed letters (NFC), straight quotes, nothing without width."""
    return text if text.isascii() else unicodedata.normalize("NFC", text).translate(LOOK_ALIKES)


def tokenize(sentence):
    """The words of a sentence: normalized, lower case, without `.` and `,`, split on white space."""
    return normalize(sentence.lower()).replace(".", "").replace(",", "").split()


APOSTROPHE = re.compile("(?=(?:'s|'re|'ve|'ll|'d|'m|n't|')$)")  # before it captions part "man 's", as treebanks do
STAND_IN_CUTOFF = 0.8  # share of letters that match in spellings that are nearly the same


class Vocabulary:
    """The words the captioner knows. Id 0 is the end token, written '.'; the others by falling count.

    counts: how often each word was seen in training, where that is known; related: a dict of unknown word -> known
    words that are used like it (related_words.py).
    """

    def __init__(self, words, counts=None, related=None):
        self.words = list(words)
        self.counts = dict(zip(self.words, counts, strict=True)) if counts else {}
        self.related = dict(related or {})
        self.ids = {word: k for k, word in enumerate(self.words)}
        if not self.words or self.words[0] != "." or len(self.ids) != len(self.words):
            raise ValueError("a vocabulary is '.' and then different words")

    def __len__(self):
        return len(self.words)

    @classmethod
    def of_captions(cls, captions, threshold):
        """The words seen at least `threshold` times in `captions`."""
        counts = count_words(captions)
        known = sorted((word for word, count in counts.items() if count >= threshold), key=lambda w: (-counts[w], w))
        return cls([".", *known], [len(captions), *(counts[word] for word in known)])

    def output_bias(self, captions):
        """The initial output bias, log(count / total) shifted to a maximum of 0 -> float32 [V].

        The end token counts once per caption.
        """
        counts = count_words(captions)
        counts["."] = len(captions)
        logs = np.log([counts[word] for word in self.words])
        return (logs - logs.max()).astype(np.float32)

    def encode(self, caption, n_lstm_step):
        """A caption as word ids int32 [L] and mask float32 [L]: at most L - 1 known words, then the end token."""
        known = [self.ids[word] for word in tokenize(caption) if word in self.ids][: n_lstm_step - 1]
        ids, mask = np.zeros(n_lstm_step, np.int32), np.zeros(n_lstm_step, np.float32)
        ids[: len(known)] = known
        mask[: len(known) + 1] = 1
        return ids, mask

    def read(self, word):
        """A word of a question as captions have it, a list of words.

        It is itself; or what is left without the marks around it; or its parts at the apostrophe. Nothing is left of
        marks alone; of a word of which no form is known, what is left without marks.
        """
        places = [
            k for k, letter in enumerate(word) if unicodedata.category(letter)[0] not in "PS"
        ]  # no marks, no signs
        bare = word[places[0] : places[-1] + 1] if places else ""
        parts = [part for part in APOSTROPHE.split(bare) if part]  # [] for marks alone
        return next((form for form in ([word], [bare], parts) if all(part in self.ids for part in form)), [bare])

    def decode(self, ids):
        """Word ids -> sentence."""
        return " ".join(self.words[k] for k in ids)

    def nearest(self, word, n=3):
        """The known words that are spelled most like `word`."""
        return difflib.get_close_matches(word, self.words[1:], n=n, cutoff=0.5)

    def stand_in(self, word):
        """The known word to read instead of an unknown one, None where nothing comes near it.

        One that is spelled nearly the same (a plural, a slip), else the one that is used most like it.
        """
        alike = difflib.get_close_matches(word, self.words[1:], n=1, cutoff=STAND_IN_CUTOFF)
        return next(iter([*alike, *self.related.get(word, [])]), None)


def count_words(captions):
    """How often each word occurs in the captions, a Counter."""
    return collections.Counter(word for caption in captions for word in tokenize(caption))


# Descriptors and batches

SIDES = {"left", "right"}  # captions with these words are not those of the mirror image


def snake_order(height, width):
    """The order in which the cells of a grid are read: even rows left to right, odd rows right to left -> [Gy * Gx]."""
    order = np.arange(height * width).reshape(height, width)
    order[1::2] = order[1::2, ::-1]
    return order.ravel()


def as_sequence(descriptors, levels=()):
    """Stored descriptors as the captioner reads them: a grid [Gy, Gx, D] -> [N, D] in snake order, [N, D] as it is.

    With the `levels` of a spatial pyramid (Lazebnik et al., CVPR 2006) the grid is read several times, averaged to so
    many cells a side; None is the grid itself.
    """
    if descriptors.ndim == 2:
        return descriptors
    if levels:
        return np.concatenate([as_sequence(_averaged(descriptors, level)) for level in levels])
    height, width, dim = descriptors.shape
    return descriptors.reshape(height * width, dim)[snake_order(height, width)]


def _averaged(grid, size):
    """The mean descriptors of size x size equal parts of a grid [Gy, Gx, D]; cells on a border count on both sides."""
    if size is None:
        return grid
    rows, columns = ([slice(k * n // size, -(-(k + 1) * n // size)) for k in range(size)] for n in grid.shape[:2])
    means = [[grid[row, column].mean(axis=(0, 1), dtype=np.float32) for column in columns] for row in rows]
    return np.asarray(means, grid.dtype)  # [size, size, D]


WHOLE = 0, 1  # the one part of all there is


def rows_of(part, n):
    """Which of n rows part k of m has, part = (k, m): from the first to before the end, which may be none."""
    k, m = part
    return n * k // m, n * (k + 1) // m


class Samples:
    """A medium with some encoded captions is a sample; batches are made of samples.

    A sample has captions_per_medium captions, or one with `one_each`. The last one of a medium is filled up with its
    captions from the first on, so that a medium of few captions counts as much as one of many.
    """

    def __init__(self, stored, vocabulary, pairs, one_each=False):
        """stored: the descriptors (datasets.store.Store), with their settings; pairs: a list of (media id, caption)."""
        config = stored.config
        self.stored, self.config = stored, config
        self.n_captions = len(pairs)
        self.per_sample = 1 if one_each else config.captions_per_medium  # K
        captions_of, has_sides = collections.defaultdict(list), collections.Counter()
        for media_id, caption in pairs:
            has_sides[media_id] += not SIDES.isdisjoint(tokenize(caption))
            captions_of[media_id].append(vocabulary.encode(caption, config.n_lstm_step))
        self.media_ids, filled = [], []
        for media_id, encoded in captions_of.items():
            n_samples = -(-len(encoded) // self.per_sample)
            self.media_ids += [media_id] * n_samples
            filled += itertools.islice(itertools.cycle(encoded), n_samples * self.per_sample)
        self.may_flip = [not has_sides[media_id] for media_id in self.media_ids]
        shape = len(self.media_ids), self.per_sample, config.n_lstm_step
        self.captions = np.array([ids for ids, _ in filled]).reshape(shape)  # [S, K, L]
        self.masks = np.array([mask for _, mask in filled]).reshape(shape)  # [S, K, L]

    def __len__(self):
        return len(self.media_ids)

    @property
    def samples_per_batch(self):
        return self.config.batch_size // self.per_sample

    def n_batches(self):
        return -(-len(self) // self.samples_per_batch)

    def order(self, epoch):
        """The order of the samples in an epoch: a permutation that depends on the seed and the epoch alone."""
        return np.random.default_rng([self.config.seed, epoch]).permutation(len(self))

    def media_of_batch(self, epoch, number):
        """The media ids [S] of batch `number` of `training_batches`."""
        size = self.samples_per_batch
        return [self.media_ids[k] for k in self.order(epoch)[number * size : (number + 1) * size]]

    def _is_mirrored(self, k, rng=None):
        """Whether sample k is shown mirrored, as some images are with `rng`."""
        probability = self.config.flip_probability
        return rng is not None and probability > 0 and rng.random() < probability and self.may_flip[k]

    def _region(self, k, rng):
        """The descriptor of one region of sample k, drawn by `rng`, with noise (equation 9) -> [1, D]."""
        regions = self.stored.load_regions(self.media_ids[k])  # [R, D]
        region = regions[rng.integers(len(regions))]  # [D]
        noise = rng.standard_normal(region.shape, np.float32)
        return (region + self.config.single_region_noise * noise).astype(region.dtype)[None]

    def _read(self, chosen, rng=None, part=WHOLE):
        """The descriptors of some samples [S, N, D]; with `rng` they are changed as `training_batches` says.

        Of a `part` what it would have in the whole: all is drawn, and only its files are read, but where a draw depends
        on the files.
        """
        first, end = rows_of(part, len(chosen))
        own = slice(first, max(end, first + 1))  # none: the shape of the first
        levels = self.config.pyramid_levels
        if rng is not None and rng.random() < self.config.single_region_share:
            return np.stack([self._region(k, rng) for k in chosen])[first:end]
        if rng is not None and levels and rng.random() < self.config.full_grid_share:
            levels = (None, *levels[1:])
        shown = [(self.media_ids[k], self._is_mirrored(k, rng)) for k in chosen]
        return np.stack([as_sequence(self.stored.load(*one), levels) for one in shown[own]])[: end - first]

    def training_batches(self, epoch, first=0, part=WHOLE):
        """The shuffled batches of an epoch, with what `config` asks to be drawn at random.

        That is: single_region_share of the batches show one region of each medium (N = 1). In the others an image is
        mirrored with flip_probability, unless its captions tell left from right; and where the captioner reads a
        pyramid, full_grid_share of them have the grid itself as its first level.
        """
        return self.batches(self.order(epoch), first, seed=[self.config.seed, epoch], part=part)

    def batches(self, order=None, first=0, seed=None, part=WHOLE):
        """Yield batches: descriptors [S, N, D], captions int32 [S * K, L], masks float32 [S * K, L], as tensors.

        The samples come in the given order, else as they are, from batch number `first` on; the last batch may be a
        part. L is the longest caption of the batch. tf.data reads the files ahead of the step. With `seed`, a list
        of integers, some are changed as `training_batches` says, by draws that depend on it and the batch number.
        `part`: the descriptors are those of these samples of each batch alone (`rows_of`), the captions are of all.
        UserError where the descriptors of a sample cannot be read.
        """
        import tensorflow as tf

        order = np.arange(len(self)) if order is None else order
        size = self.samples_per_batch
        dtypes = (self.config.descriptor_dtype, "int32", "float32")
        reasons = []  # tf.data turns an exception into one of its own

        def load(number):
            chosen = order[number * size : (number + 1) * size]
            length = int(self.masks[chosen].sum(axis=-1).max())
            rng = None if seed is None else np.random.default_rng([*seed, number])
            try:
                descriptors = self._read(chosen, rng, part)
            except UserError as error:
                reasons.append(error)
                raise
            words = (array[chosen, :, :length].reshape(-1, length) for array in (self.captions, self.masks))
            return descriptors, *words

        numbers = tf.data.Dataset.range(first, self.n_batches())
        loaded = numbers.map(lambda number: tf.numpy_function(load, [number], dtypes, stateful=False), 2)
        try:
            yield from loaded.prefetch(2)
        except tf.errors.OpError:
            if reasons:
                raise reasons[0] from None
            raise


def training_samples(stored, vocabulary, media):
    """The captions of every medium, captions_per_medium of them a sample."""
    return Samples(stored, vocabulary, [(medium.id, caption) for medium in media for caption in medium.captions])


def validation_samples(stored, vocabulary, media):
    """One fixed caption of each medium: its first."""
    return Samples(stored, vocabulary, [(medium.id, medium.captions[0]) for medium in media], one_each=True)
