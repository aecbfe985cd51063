"""Words, descriptors and batches; the layouts of the data sets are in test_annotations.py."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import cfg
import data_loader
from data_loader import Vocabulary
from datasets.annotations import Medium
from system import device
from system.errors import UserError

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden"


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    """Everything is started in an empty folder."""
    monkeypatch.chdir(tmp_path)


# Words


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


# Descriptors and batches


def test_snake_order():
    assert data_loader.snake_order(3, 3).tolist() == [0, 1, 2, 5, 4, 3, 6, 7, 8]
    assert data_loader.snake_order(2, 3).tolist() == [0, 1, 2, 5, 4, 3]
    assert data_loader.snake_order(1, 1).tolist() == [0]


def test_snake_order_of_the_released_program():
    path = GOLDEN / "golden_preprocess.npz"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    with np.load(path) as golden:
        np.testing.assert_array_equal(data_loader.snake_order(8, 8), golden["snake_order"])
        np.testing.assert_array_equal(data_loader.as_sequence(golden["snake_in"]), golden["snake_out"])


def test_as_sequence():
    grid = np.arange(12).reshape(2, 3, 2)
    assert data_loader.as_sequence(grid).tolist() == [[0, 1], [2, 3], [4, 5], [10, 11], [8, 9], [6, 7]]
    np.testing.assert_array_equal(data_loader.as_sequence(grid[1]), grid[1])


def test_as_sequence_of_a_pyramid():
    grid = np.arange(16, dtype=np.float16).reshape(4, 4, 1)
    assert data_loader.as_sequence(grid, (2, 1)).ravel().tolist() == [2.5, 4.5, 12.5, 10.5, 7.5]
    assert data_loader.as_sequence(grid, (None, 1)).ravel().tolist() == [*data_loader.as_sequence(grid).ravel(), 7.5]
    assert data_loader.as_sequence(grid, (2, 1)).dtype == np.float16
    corner = data_loader.as_sequence(grid[:3, :3], (2,))  # rows 0 and 1, rows 1 and 2; the columns likewise
    assert corner.ravel().tolist() == [2.5, 3.5, 7.5, 6.5]
    np.testing.assert_array_equal(data_loader.as_sequence(grid[0], (2, 1)), grid[0])  # frames of a video


VIDEOS = cfg.override(cfg.DATASETS["MSR-VTT"], ["n_lstm_step=6", "batch_size=2", "n_sampled_frames=3"])
IMAGES = cfg.override(cfg.DATASETS["Flickr30k"], ["n_lstm_step=6", "batch_size=2", "descriptor_dtype=float32"])
MEDIA = [
    Medium("v0", Path("v0.mp4"), "train", ("a dog runs", "a dog")),
    Medium("v1", Path("v1.mp4"), "train", ("a cat",)),
    Medium("v2", Path("v2.mp4"), "train", ("the dog runs to the cat", "cat")),
]
VOCABULARY = Vocabulary([".", "a", "cat", "dog", "runs", "the", "to"])


def store(config, media=MEDIA):
    """Random descriptors for media -> dict of id -> array."""
    config.descriptors_dir.mkdir(parents=True, exist_ok=True)
    rng, shape = np.random.default_rng(0), (3, 4) if config.media == "video" else (2, 3, 4)
    stored = {medium.id: rng.normal(size=shape).astype(config.descriptor_dtype) for medium in media}
    for media_id, descriptors in stored.items():
        np.save(config.descriptors_dir / f"{media_id}.npy", descriptors)
    return stored


def damage(path, how):
    content = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "cut": content[:-1],
            "cut in its header": content[:40],
            "header": content.replace(b"}", b" "),  # NumPy raises tokenize.TokenError
            "text": b"descriptors",
        }[how]
    )


def test_load_descriptors():
    for config in (VIDEOS, IMAGES):
        for media_id, descriptors in store(config).items():
            loaded = data_loader.load_descriptors(config, media_id)
            assert loaded.dtype == config.descriptor_dtype
            np.testing.assert_array_equal(loaded, descriptors)


@pytest.mark.parametrize("how", ["empty", "cut", "cut in its header", "header", "text"])
def test_damaged_descriptors_are_told(how):
    store(VIDEOS)
    damage(VIDEOS.descriptors_dir / "v1.npy", how)
    message = r"^DATA/descriptors/MSR-VTT/.*/v1.npy cannot be read \(.+\): remove it and run preprocessing.py again"
    with pytest.raises(UserError, match=message):
        data_loader.load_descriptors(VIDEOS, "v1")


def test_descriptors_that_need_pickle_are_refused():
    store(VIDEOS)
    np.save(VIDEOS.descriptors_dir / "v1.npy", np.array([{}], object))
    with pytest.raises(UserError, match=r"v1.npy cannot be read \(.*allow_pickle"):
        data_loader.load_descriptors(VIDEOS, "v1")


def test_missing_descriptors_are_told():
    message = "v9.npy is missing: run `python preprocessing.py --dataset MSR-VTT` first"
    with pytest.raises(UserError, match=message):
        data_loader.load_descriptors(VIDEOS, "v9")


def test_cnn_weights_id():
    assert data_loader.cnn_weights_id(VIDEOS) is None
    store(VIDEOS)
    (VIDEOS.descriptors_dir / "cnn.json").write_text('{"cnn": "inception_v3", "weights_id": "0123"}')
    assert data_loader.cnn_weights_id(VIDEOS) == "0123"


def write_failures(*ids):
    VIDEOS.descriptors_dir.mkdir(parents=True, exist_ok=True)
    (VIDEOS.descriptors_dir / "failures.json").write_text(json.dumps(dict.fromkeys(ids, "no video in it")))


def test_usable_media_leaves_recorded_failures_out():
    store(VIDEOS)
    assert data_loader.usable_media(VIDEOS, MEDIA) == MEDIA
    (VIDEOS.descriptors_dir / "v1.npy").unlink()
    write_failures("v1", "v2", "of another split")  # v2 has been computed since
    assert data_loader.usable_media(VIDEOS, MEDIA) == [MEDIA[0], MEDIA[2]]


def test_usable_media_refuses_gaps():
    message = (
        r"^{} of 3 media have no descriptors in DATA/descriptors/MSR-VTT/inception_v3-3frames-float16, such as {}: "
    )
    run = r"run `python preprocessing.py --dataset MSR-VTT` with the same --set$"
    with pytest.raises(UserError, match=message.format(3, "v0") + run):
        data_loader.usable_media(VIDEOS, MEDIA)
    store(VIDEOS, MEDIA[:1])
    write_failures("v1")
    with pytest.raises(UserError, match=message.format(1, "v2") + run):
        data_loader.usable_media(VIDEOS, MEDIA)


def test_usable_media_refuses_a_split_without_any():
    with pytest.raises(UserError, match="a split of DATA/MSR_VTT has no media: training needs a train and a validate"):
        data_loader.usable_media(VIDEOS, [])
    write_failures("v0", "v1", "v2")
    with pytest.raises(UserError, match=r"could read none of the 3 media; .*/failures.json says why"):
        data_loader.usable_media(VIDEOS, MEDIA)
    (VIDEOS.descriptors_dir / "failures.json").write_text("{")
    with pytest.raises(UserError, match=r"failures.json is not valid JSON .*: expected the media that preprocessing"):
        data_loader.usable_media(VIDEOS, MEDIA)


def test_training_has_every_caption_and_validation_one_a_medium():
    samples = data_loader.training_samples(VIDEOS, VOCABULARY, MEDIA)
    assert samples.media_ids == ["v0", "v0", "v1", "v2", "v2"]
    assert samples.captions[:, 0].tolist() == [
        [1, 3, 4, 0, 0, 0],
        [1, 3, 0, 0, 0, 0],
        [1, 2, 0, 0, 0, 0],
        [5, 3, 4, 6, 5, 0],  # six words: the last one has no room
        [2, 0, 0, 0, 0, 0],
    ]
    assert samples.masks[:, 0].sum(axis=1).tolist() == [4, 3, 3, 6, 2]
    assert (len(samples), samples.n_batches()) == (5, 3)

    samples = data_loader.validation_samples(VIDEOS, VOCABULARY, MEDIA)
    assert samples.media_ids == ["v0", "v1", "v2"]
    assert samples.captions[:, 0, :3].tolist() == [[1, 3, 4], [1, 2, 0], [5, 3, 4]]
    assert (len(samples), samples.n_batches()) == (3, 2)
    assert data_loader.validation_samples(VIDEOS, VOCABULARY, MEDIA[:2]).n_batches() == 1


def test_order_depends_on_seed_and_epoch_alone():
    samples = data_loader.Samples(VIDEOS, VOCABULARY, [("v0", "a dog")] * 50)
    first = samples.order(0).tolist()
    assert sorted(first) == list(range(50))
    again = data_loader.Samples(dataclasses.replace(VIDEOS, batch_size=7), VOCABULARY, [("v1", "a cat")] * 50)
    np.random.seed(1)
    assert again.order(0).tolist() == first
    other_seed = data_loader.Samples(dataclasses.replace(VIDEOS, seed=1), VOCABULARY, [("v0", "a dog")] * 50)
    orders = [first, samples.order(1).tolist(), other_seed.order(0).tolist(), list(range(50))]
    assert len(set(map(tuple, orders))) == 4


@pytest.fixture(scope="module")
def tensorflow():
    device.start_tensorflow()


def batches(samples, *args, **kwargs):
    return [tuple(part.numpy() for part in batch) for batch in samples.batches(*args, **kwargs)]


@pytest.mark.parametrize("config", [VIDEOS, IMAGES], ids=["video", "image"])
def test_batches(config, tensorflow):
    stored = {media_id: data_loader.as_sequence(one) for media_id, one in store(config).items()}
    samples = data_loader.training_samples(config, VOCABULARY, MEDIA)
    order = [3, 0, 4, 2, 1]
    made = batches(samples, np.array(order))
    assert [len(captions) for _, captions, _ in made] == [2, 2, 1]  # the last batch is a part
    for k, (descriptors, captions, masks) in enumerate(made):
        assert (descriptors.dtype, captions.dtype, masks.dtype) == (config.descriptor_dtype, np.int32, np.float32)
        chosen = order[2 * k : 2 * k + 2]
        expected = np.stack([stored[samples.media_ids[n]] for n in chosen])  # [B, N, D]
        np.testing.assert_array_equal(descriptors, expected)
        length = (6, 3, 3)[k]  # of the longest caption in the batch, with its end token
        np.testing.assert_array_equal(captions, samples.captions[chosen, 0, :length])
        np.testing.assert_array_equal(masks, samples.masks[chosen, 0, :length])
        assert masks[:, -1].any()


def test_captions_of_one_medium_share_its_descriptors(tensorflow):
    config = dataclasses.replace(VIDEOS, batch_size=5, captions_per_medium=2)
    stored = store(config)
    samples = data_loader.training_samples(config, VOCABULARY, MEDIA)
    assert samples.media_ids == ["v0", "v1", "v2"]
    assert (samples.n_captions, samples.n_batches()) == (5, 2)  # two media a batch: five captions are no whole number
    (descriptors, captions, masks), (_, last, _) = batches(samples, np.array([1, 2, 0]))
    np.testing.assert_array_equal(descriptors, [stored["v1"], stored["v2"]])
    assert captions.tolist() == [[1, 2, 0, 0, 0, 0], [0] * 6, [5, 3, 4, 6, 5, 0], [2, 0, 0, 0, 0, 0]]
    assert masks.sum(axis=1).tolist() == [3, 0, 6, 2]  # v1 has one caption: the empty one is under no mask
    assert last.tolist() == [[1, 3, 4, 0], [1, 3, 0, 0]]
    validation = data_loader.validation_samples(config, VOCABULARY, MEDIA)
    assert [captions.shape for _, captions, _ in batches(validation)] == [(3, 6)]


def assert_same(made, expected):
    assert len(made) == len(expected)
    for batch, other in zip(made, expected, strict=True):
        for part, other_part in zip(batch, other, strict=True):
            np.testing.assert_array_equal(part, other_part)


def test_batches_from_a_later_one_on(tensorflow):
    store(VIDEOS)
    samples = data_loader.training_samples(VIDEOS, VOCABULARY, MEDIA)
    order = samples.order(3)
    made = batches(samples, order)
    for first in range(4):
        assert_same(batches(samples, order, first), made[first:])
    assert_same(batches(samples, first=1), batches(samples, np.arange(5))[1:])  # without an order: as they are


@pytest.mark.parametrize("how", ["cut", "header", "missing"])
def test_batches_tell_which_file_is_damaged(how, tensorflow):
    store(VIDEOS)
    path = VIDEOS.descriptors_dir / "v2.npy"
    path.unlink() if how == "missing" else damage(path, how)
    samples = data_loader.training_samples(VIDEOS, VOCABULARY, MEDIA)
    message = "v2.npy is missing" if how == "missing" else r"v2.npy cannot be read \("
    came = 0
    with pytest.raises(UserError, match=message):
        for _ in samples.batches():
            came += 1
    assert came == 1  # v0, v0; then v1, v2


@pytest.mark.parametrize("config", [VIDEOS, IMAGES], ids=["video", "image"])
def test_some_training_batches_show_one_region_of_each_medium(config, tensorflow):
    config = dataclasses.replace(config, single_region_share=0.5, batch_size=1)
    stored = store(config)
    regions = {media_id: np.arange(4 * 5).reshape(4, 5).astype(config.descriptor_dtype) for media_id in stored}
    if config.media == "video":
        for media_id, array in regions.items():
            np.save(data_loader.regions_path(config, media_id), array)
    else:
        regions = {media_id: data_loader.as_sequence(grid) for media_id, grid in stored.items()}
    samples = data_loader.training_samples(config, VOCABULARY, MEDIA)
    kinds = set()
    for epoch in range(4):
        made = [tuple(part.numpy() for part in batch) for batch in samples.training_batches(epoch)]
        for k, (descriptors, _, _) in zip(samples.order(epoch), made, strict=True):
            media_id = samples.media_ids[k]
            single = descriptors.shape[1] == 1
            kinds.add(single)
            if single:
                assert (regions[media_id] == descriptors[0, 0]).all(axis=1).any()
            else:
                np.testing.assert_array_equal(descriptors[0], data_loader.as_sequence(stored[media_id]))
        rest = [tuple(part.numpy() for part in batch) for batch in samples.training_batches(epoch, 2)]
        assert_same(rest, made[2:])  # a resumed epoch draws the same regions
    assert kinds == {True, False}


def test_some_training_batches_have_the_grid_itself_below_the_top_of_a_pyramid(tensorflow):
    config = dataclasses.replace(IMAGES, pyramid="2,1", full_grid_share=0.5, batch_size=1)
    stored = store(config)
    samples = data_loader.training_samples(config, VOCABULARY, MEDIA)
    lengths = []
    for epoch in range(40):
        made = [descriptors.numpy() for descriptors, *_ in samples.training_batches(epoch)]
        for k, (shown,) in zip(samples.order(epoch), made, strict=True):
            lengths.append(len(shown))
            levels = (2, 1) if len(shown) == 5 else (None, 1)
            np.testing.assert_array_equal(shown, data_loader.as_sequence(stored[samples.media_ids[k]], levels))
    n_cells = stored["v0"].shape[0] * stored["v0"].shape[1]
    assert set(lengths) == {5, n_cells + 1}
    assert np.mean(np.array(lengths) > 5) == pytest.approx(0.5, abs=0.15)
    assert {descriptors.shape[1] for descriptors, *_ in samples.batches()} == {5}


def test_some_images_are_mirrored_in_training(tensorflow):
    config = dataclasses.replace(IMAGES, flip_probability=0.25, batch_size=2)
    stored = store(config)
    for media_id, grid in stored.items():
        np.save(data_loader.mirrored_path(config, media_id), grid + 100)
    media = [*MEDIA, dataclasses.replace(MEDIA[0], id="v9", captions=("a dog on the left",))]
    np.save(data_loader.descriptor_path(config, "v9"), stored["v0"])  # its mirror image is never asked for
    stored["v9"] = stored["v0"]
    samples = data_loader.training_samples(config, VOCABULARY, media)
    draws = []
    for epoch in range(40):
        made = [descriptors.numpy() for descriptors, *_ in samples.training_batches(epoch)]
        for k, shown in zip(samples.order(epoch), np.concatenate(made), strict=True):
            added = shown - data_loader.as_sequence(stored[samples.media_ids[k]])  # [N, D]
            draws.append(added.flat[0])
            assert set(np.unique(added)) <= {0, 100} and np.ptp(added) == 0
    assert np.mean(draws) / 100 == pytest.approx(0.25 * 5 / 6, abs=0.1)  # of six captions one has a side
    plain = [descriptors.numpy() for descriptors, *_ in samples.batches()]
    np.testing.assert_array_equal(np.concatenate(plain)[0], data_loader.as_sequence(stored["v0"]))
    data_loader.mirrored_path(config, "v1").unlink()
    with pytest.raises(UserError, match="1 of 3 media have no descriptors"):
        data_loader.usable_media(config, MEDIA)
    assert data_loader.usable_media(config, MEDIA, for_training=False) == MEDIA


def test_noise_on_single_regions_has_the_size_asked_for_and_can_be_repeated(tensorflow):
    config = dataclasses.replace(IMAGES, single_region_share=0.99, single_region_noise=0.5, batch_size=1)
    stored = store(config)
    samples = data_loader.training_samples(config, VOCABULARY, MEDIA)

    def noise(epoch):
        for k, (descriptors, _, _) in zip(samples.order(epoch), samples.training_batches(epoch), strict=True):
            if descriptors.shape[1] == 1:
                regions = data_loader.as_sequence(stored[samples.media_ids[k]]).astype(np.float32)
                added = descriptors.numpy()[0] - regions  # [R, D], to each of those that it may have been
                yield added[np.abs(added).sum(axis=1).argmin()]

    drawn = np.concatenate([np.ravel(list(noise(epoch))) for epoch in range(40)])
    assert drawn.std() == pytest.approx(0.5, rel=0.1)
    assert abs(drawn.mean()) < 0.1
    np.testing.assert_array_equal(list(noise(0)), list(noise(0)))
    assert not np.array_equal(list(noise(0)), list(noise(1)))
