"""Data sets as they lie on disk: annotations and splits, words, and batches of descriptors with captions.

Media and captions come from the layouts that README draws; descriptors are what preprocessing.py stored.
"""

import collections
import dataclasses
import difflib
import json
from pathlib import Path

import numpy as np

from errors import UserError

SPLITS = ("train", "validate", "test")


# Annotations and splits


@dataclasses.dataclass(frozen=True)
class Medium:
    """One video or image of a data set: its id, where its file should lie, its split, and its captions."""

    id: str
    path: Path
    split: str
    captions: tuple


def _read_text(path, what):
    """The content of a text file; UserError, saying `what` was expected there, where there is none."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path} is missing: expected {what}; README.md draws the layout") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as text ({error}): expected {what}") from None


def _read_lines(path, what):
    """The lines of a text file that are not empty, as pairs of their number, from 1, and the line."""
    lines = _read_text(path, what).split("\n")  # splitlines would also cut inside captions
    return [(number, line) for number, line in enumerate(lines, 1) if line.strip()]


def read_json(path, what):
    """The content of a JSON file; UserError, saying `what` was expected there, where it cannot be read."""
    try:
        return json.loads(_read_text(path, what))
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not valid JSON ({error}): expected {what}") from None


def _checked_id(media_id, source):
    """`media_id` as text, if it can be a file name; ids name files, so one with a path in it is refused."""
    media_id = str(media_id)
    if not media_id or "/" in media_id or "\\" in media_id or media_id in (".", ".."):
        raise UserError(f"{source}: '{media_id}' cannot be a media id, it is no plain file name")
    return media_id


def _read_token_file(path):
    """A Flickr caption file, `name.jpg#k<TAB>caption` a line -> dict of file name -> list of captions."""
    captions = collections.defaultdict(list)
    for number, line in _read_lines(path, "captions, 'name.jpg#k<TAB>caption' a line"):
        name, tab, caption = line.partition("\t")
        name, hash_sign, _ = name.rpartition("#")
        if not (tab and hash_sign):
            raise UserError(f"{path}, line {number}: expected 'name.jpg#k<TAB>caption', found '{line[:60]}'")
        captions[_checked_id(name, f"{path}, line {number}")].append(caption.strip())
    return captions


def _media_of_images(split_of, captions, folder, source):
    """Media from a dict of file name -> split and the captions of the token file."""
    if not Path(folder).is_dir():
        raise UserError(f"{folder} is missing: expected the folder of images; README.md draws the layout")
    without = [name for name in split_of if name not in captions]
    if without:
        raise UserError(f"{len(without)} images of the splits have no caption in {source}, such as '{without[0]}'")
    media = {}
    for name, split in split_of.items():
        medium = Medium(Path(name).stem, Path(folder) / name, split, tuple(captions[name]))
        if medium.id in media:
            raise UserError(
                f"the splits of {Path(folder).parent} name '{media[medium.id].path.name}' and '{name}': an image's id "
                "is its name without the ending, so one of them must be renamed"
            )
        media[medium.id] = medium
    return media


def _read_lists(paths, extension=""):
    """Lists of image names, a dict of split -> path -> dict of file name -> split."""
    split_of = {}
    for split, path in paths.items():
        for number, line in _read_lines(path, f"the image names of the {split} split, one a line"):
            name = _checked_id(line.strip(), f"{path}, line {number}")
            split_of[name if name.endswith(extension) else name + extension] = split
    return split_of


def read_flickr8k(folder):
    """Flickr8k: `Flickr8k.token.txt`, `Flickr_8k.{train,dev,test}Images.txt`, `Flicker8k_Dataset/`."""
    names = {"train": "train", "validate": "dev", "test": "test"}
    split_of = _read_lists({split: folder / f"Flickr_8k.{names[split]}Images.txt" for split in SPLITS})
    token_file = folder / "Flickr8k.token.txt"
    return _media_of_images(split_of, _read_token_file(token_file), folder / "Flicker8k_Dataset", token_file)


def read_flickr30k(folder):
    """Flickr30k: `results_20130124.token`, `flickr30k-images/`, and the splits of NeuralTalk.

    The splits are its `dataset_flickr30k.json`, or the lists `imgs_{train,val,test}.txt`.
    """
    split_names = {"train": "train", "val": "validate", "test": "test"}
    split_json = folder / "dataset_flickr30k.json"
    if split_json.exists():
        try:
            images = read_json(split_json, "NeuralTalk's splits")["images"]
            split_of = {_checked_id(image["filename"], split_json): split_names[image["split"]] for image in images}
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{split_json}: expected images[] with filename and split (train, val, test); problem with {error}"
            ) from None
    elif (folder / "imgs_train.txt").exists():
        split_of = _read_lists({split_names[k]: folder / f"imgs_{k}.txt" for k in split_names}, ".jpg")
    else:
        raise UserError(
            f"{folder} has no splits: expected NeuralTalk's dataset_flickr30k.json, or imgs_{{train,val,test}}.txt"
        )
    token_file = folder / "results_20130124.token"
    return _media_of_images(split_of, _read_token_file(token_file), folder / "flickr30k-images", token_file)


def read_msr_vtt(folder):
    """MSR-VTT: `{train_val,test}_videodatainfo.json`, and `TrainValVideo/` and `TestVideo/`, or `videos/` for both.

    Without the test set's JSON the data set has no test split; without its videos stage 1 records them as failures.
    """
    media = {}
    for part, videos_folder in (("train_val", "TrainValVideo"), ("test", "TestVideo")):
        path = folder / f"{part}_videodatainfo.json"
        if part == "test" and not path.exists():
            continue
        info = read_json(path, "MSR-VTT's list of videos and sentences")
        videos_dir = next(
            (d for d in (folder / videos_folder, folder / "videos") if d.is_dir()), folder / videos_folder
        )
        if part == "train_val" and not videos_dir.is_dir():
            raise UserError(f"{folder} has neither {videos_folder}/ nor videos/: expected the .mp4 files there")
        try:
            captions = collections.defaultdict(list)
            for sentence in info["sentences"]:
                captions[str(sentence["video_id"])].append(str(sentence["caption"]))
            for video in info["videos"]:
                video_id, split = _checked_id(video["video_id"], path), video["split"]
                if split not in SPLITS:
                    raise UserError(f"{path}: {video_id} has the split '{split}': expected {', '.join(SPLITS)}")
                media[video_id] = Medium(video_id, videos_dir / f"{video_id}.mp4", split, tuple(captions[video_id]))
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{path}: expected videos[] with video_id and split, sentences[] with video_id and caption; "
                f"problem with {error}"
            ) from None
        without = next((video["video_id"] for video in info["videos"] if not captions[str(video["video_id"])]), None)
        if without is not None:
            raise UserError(f"{path}: video '{without}' has no sentence")
    return media


READERS = {"MSR-VTT": read_msr_vtt, "Demo": read_msr_vtt, "Flickr30k": read_flickr30k, "Flickr8k": read_flickr8k}


def read_media(config):
    """The media of the configured data set, a dict of id -> Medium; UserError where the layout is not as expected."""
    folder = Path(config.data_dir)
    if not folder.is_dir():
        raise UserError(f"{folder} is missing: put (or link) {config.dataset} there; README.md draws the layout")
    return READERS[config.dataset](folder)


def find_medium(media, media_id):
    """The Medium of that id (an image's file name will do); UserError naming similar ids where there is none."""
    for name in (media_id, Path(media_id).stem):
        if name in media:
            return media[name]
    similar = difflib.get_close_matches(media_id, media, n=3) or list(media)[:3]
    raise UserError(
        f"there is no media id '{media_id}' among the {len(media)} of this data set; similar: {', '.join(similar)}"
    )


def split_media(media, split):
    """The media of one split, in a fixed order."""
    return [medium for medium in media.values() if medium.split == split]


# Words


def tokenize(sentence):
    """The words of a sentence: lower case, without `.` and `,`, split on white space."""
    return sentence.lower().replace(".", "").replace(",", "").split()


class Vocabulary:
    """The words the captioner knows. Id 0 is the end token, written '.'; the others by falling count."""

    def __init__(self, words):
        self.words = list(words)
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
        return cls([".", *known])

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

    def decode(self, ids):
        """Word ids -> sentence."""
        return " ".join(self.words[k] for k in ids)

    def nearest(self, word, n=3):
        """The known words that are spelled most like `word`."""
        return difflib.get_close_matches(word, self.words[1:], n=n, cutoff=0.5)


def count_words(captions):
    """How often each word occurs in the captions, a Counter."""
    return collections.Counter(word for caption in captions for word in tokenize(caption))


# Descriptors and batches

FAILURES = "failures.json"
CNN_FILE = "cnn.json"  # beside the descriptors: which CNN made them


def snake_order(height, width):
    """The order in which the cells of a grid are read: even rows left to right, odd rows right to left -> [Gy * Gx]."""
    order = np.arange(height * width).reshape(height, width)
    order[1::2] = order[1::2, ::-1]
    return order.ravel()


def descriptor_path(config, media_id):
    return config.descriptors_dir / f"{media_id}.npy"


def regions_path(config, media_id):
    """Where the sampled regions of a video lie, for training on single regions."""
    return config.descriptors_dir / f"{media_id}.regions.npy"


def stored_paths(config, media_id):
    """Every file that stage 1 stores for a medium."""
    paths = [descriptor_path(config, media_id)]
    if config.media == "video" and config.single_region_share > 0:
        paths.append(regions_path(config, media_id))
    return paths


def is_stored(config, media_id):
    """Whether every file that stage 1 stores for a medium is there."""
    return all(path.exists() for path in stored_paths(config, media_id))


def as_sequence(descriptors):
    """Stored descriptors as the captioner reads them: a grid [Gy, Gx, D] -> [N, D] in snake order, [N, D] as it is."""
    if descriptors.ndim == 2:
        return descriptors
    height, width, dim = descriptors.shape
    return descriptors.reshape(height * width, dim)[snake_order(height, width)]


def load_descriptors(config, media_id):
    """The stored descriptors of one medium, [N, D] of a video, [Gy, Gx, D] of an image; UserError if there are none."""
    return _load_array(config, descriptor_path(config, media_id))


def load_regions(config, media_id):
    """Descriptors of single regions [R, D]: an image's grid, of a video the regions that stage 1 sampled."""
    if config.media == "image":
        return as_sequence(load_descriptors(config, media_id))
    return _load_array(config, regions_path(config, media_id))


def _load_array(config, path):
    try:
        return np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise UserError(
            f"{path} is missing: run `python preprocessing.py --dataset {config.dataset}` first, with the same --set"
        ) from None
    except Exception as error:  # a damaged header can raise whatever Python's own parser raises
        raise UserError(f"{path} cannot be read ({error}): remove it and run preprocessing.py again") from None


def cnn_weights_id(config):
    """Which weights the CNN of the stored descriptors had: `cnn.Extractor.weights_id`, None where it is not noted."""
    path = config.descriptors_dir / CNN_FILE
    return read_json(path, "the CNN's name and weights_id").get("weights_id") if path.exists() else None


def usable_media(config, media):
    """The media that have descriptors; those that preprocessing recorded as failures are left out.

    UserError where others lack theirs, or where none is left.
    """
    if not media:
        raise UserError(f"a split of {config.data_dir} has no media: training needs a train and a validate split")
    path = config.descriptors_dir / FAILURES
    failures = read_json(path, "the media that preprocessing.py could not read") if path.exists() else {}
    usable = [medium for medium in media if is_stored(config, medium.id)]
    present = {medium.id for medium in usable}
    missing = [medium.id for medium in media if medium.id not in present and medium.id not in failures]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(media)} media have no descriptors in {config.descriptors_dir}, such as "
            f"{missing[0]}: run `python preprocessing.py --dataset {config.dataset}` with the same --set"
        )
    if not usable:
        raise UserError(f"preprocessing.py could read none of the {len(media)} media; {path} says why")
    return usable


class Samples:
    """Pairs of a medium and one encoded caption, from which batches are made."""

    def __init__(self, config, vocabulary, pairs):
        """pairs: a list of (media id, caption)."""
        self.config = config
        self.media_ids = [media_id for media_id, _ in pairs]
        encoded = [vocabulary.encode(caption, config.n_lstm_step) for _, caption in pairs]
        self.captions = np.array([ids for ids, _ in encoded])  # [S, L]
        self.masks = np.array([mask for _, mask in encoded])  # [S, L]

    def __len__(self):
        return len(self.media_ids)

    def n_batches(self):
        return -(-len(self) // self.config.batch_size)

    def order(self, epoch):
        """The order of the samples in an epoch: a permutation that depends on the seed and the epoch alone."""
        return np.random.default_rng([self.config.seed, epoch]).permutation(len(self))

    def _descriptors(self, k, region_rng):
        """The descriptors of sample k [N, D]; with `region_rng` those of one region, drawn by it [1, D].

        A region's descriptor gets noise, for the reason that README gives at equation 9.
        """
        if region_rng is None:
            return as_sequence(load_descriptors(self.config, self.media_ids[k]))
        regions = load_regions(self.config, self.media_ids[k])  # [R, D]
        region = regions[region_rng.integers(len(regions))]  # [D]
        noise = region_rng.standard_normal(region.shape, np.float32)
        return (region + self.config.single_region_noise * noise).astype(region.dtype)[None]

    def training_batches(self, epoch, first=0):
        """The shuffled batches of an epoch; single_region_share of them show one region of each medium (N = 1)."""
        return self.batches(self.order(epoch), first, region_seed=[self.config.seed, epoch])

    def batches(self, order=None, first=0, region_seed=None):
        """Yield batches: descriptors [B, N, D], captions int32 [B, L], masks float32 [B, L], as tensors.

        The samples come in the given order, else as they are, from batch number `first` on; the last batch may be a
        part. L is the longest caption of the batch. tf.data reads the files ahead of the step. With `region_seed`, a
        list of integers, some batches show single regions, a draw for each batch number.
        UserError where the descriptors of a sample cannot be read.
        """
        import tensorflow as tf

        order = np.arange(len(self)) if order is None else order
        size = self.config.batch_size
        dtypes = (self.config.descriptor_dtype, "int32", "float32")
        reasons = []  # tf.data turns an exception into one of its own

        def load(number):
            chosen = order[number * size : (number + 1) * size]
            length = int(self.masks[chosen].sum(axis=1).max())
            rng = None if region_seed is None else np.random.default_rng([*region_seed, number])
            single = rng is not None and rng.random() < self.config.single_region_share
            try:
                descriptors = np.stack([self._descriptors(k, rng if single else None) for k in chosen])  # [B, N, D]
            except UserError as error:
                reasons.append(error)
                raise
            return descriptors, self.captions[chosen, :length], self.masks[chosen, :length]

        numbers = tf.data.Dataset.range(first, self.n_batches())
        loaded = numbers.map(lambda number: tf.numpy_function(load, [number], dtypes, stateful=False), 2)
        try:
            yield from loaded.prefetch(2)
        except tf.errors.OpError:
            if reasons:
                raise reasons[0] from None
            raise


def training_samples(config, vocabulary, media):
    """Every caption of every medium is a sample of its own."""
    return Samples(config, vocabulary, [(medium.id, caption) for medium in media for caption in medium.captions])


def validation_samples(config, vocabulary, media):
    """One fixed caption of each medium: its first."""
    return Samples(config, vocabulary, [(medium.id, medium.captions[0]) for medium in media])
