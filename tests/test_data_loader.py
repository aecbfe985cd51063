"""Descriptors as sequences, and batches; words are in test_vocabulary.py."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import cfg
import data_loader
from datasets import store
from system import device
from system.errors import UserError
from tests.stored_media import IMAGES, MEDIA, VIDEOS, VOCABULARY, damage, write_descriptors

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden"


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    """Everything is started in an empty folder."""
    monkeypatch.chdir(tmp_path)


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


def test_training_has_every_caption_and_validation_one_a_medium():
    samples = data_loader.training_samples(store.Store(VIDEOS), VOCABULARY, MEDIA)
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

    samples = data_loader.validation_samples(store.Store(VIDEOS), VOCABULARY, MEDIA)
    assert samples.media_ids == ["v0", "v1", "v2"]
    assert samples.captions[:, 0, :3].tolist() == [[1, 3, 4], [1, 2, 0], [5, 3, 4]]
    assert (len(samples), samples.n_batches()) == (3, 2)
    assert data_loader.validation_samples(store.Store(VIDEOS), VOCABULARY, MEDIA[:2]).n_batches() == 1


def test_order_depends_on_seed_and_epoch_alone():
    samples = data_loader.Samples(store.Store(VIDEOS), VOCABULARY, [("v0", "a dog")] * 50)
    first = samples.order(0).tolist()
    assert sorted(first) == list(range(50))
    again = data_loader.Samples(
        store.Store(dataclasses.replace(VIDEOS, batch_size=7)), VOCABULARY, [("v1", "a cat")] * 50
    )
    np.random.seed(1)
    assert again.order(0).tolist() == first
    other_seed = data_loader.Samples(
        store.Store(dataclasses.replace(VIDEOS, seed=1)), VOCABULARY, [("v0", "a dog")] * 50
    )
    orders = [first, samples.order(1).tolist(), other_seed.order(0).tolist(), list(range(50))]
    assert len(set(map(tuple, orders))) == 4


@pytest.fixture(scope="module")
def tensorflow():
    device.start_tensorflow()


def batches(samples, *args, **kwargs):
    return [tuple(part.numpy() for part in batch) for batch in samples.batches(*args, **kwargs)]


@pytest.mark.parametrize("config", [VIDEOS, IMAGES], ids=["video", "image"])
def test_batches(config, tensorflow):
    stored = {media_id: data_loader.as_sequence(one) for media_id, one in write_descriptors(config).items()}
    samples = data_loader.training_samples(store.Store(config), VOCABULARY, MEDIA)
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


def test_parts_of_a_batch_make_it_up():
    for n in range(9):
        for n_parts in range(1, 9):
            rows = [data_loader.rows_of((k, n_parts), n) for k in range(n_parts)]
            assert [one for first, end in rows for one in range(first, end)] == list(range(n))
            assert max(end - first for first, end in rows) - min(end - first for first, end in rows) <= 1


@pytest.mark.parametrize(
    "assignments", [[], ["flip_probability=0.5"], ["single_region_share=0.5", "single_region_noise=1"]], ids=str
)
def test_several_workers_read_what_one_would(tensorflow, assignments, monkeypatch):
    """Each the descriptors of its part, which may be none, with what the whole batch has drawn."""
    config = cfg.override(IMAGES, [*assignments, "batch_size=3"])
    stored, read = store.Store(config), []
    rng = np.random.default_rng(0)
    shown = [(medium.id, mirrored) for medium in MEDIA for mirrored in (False, True)]
    grids = {one: rng.normal(size=(2, 3, 4)).astype(np.float32) for one in shown}
    monkeypatch.setattr(stored, "load", lambda *one: read.append(one) or grids[one])
    monkeypatch.setattr(
        stored, "load_regions", lambda media_id: grids[media_id, False].reshape(6, 4)[int(media_id[1]) :]
    )
    samples = data_loader.training_samples(stored, VOCABULARY, MEDIA)
    kinds = set()
    for epoch in range(4):
        whole = batches(samples, samples.order(epoch), seed=[1, epoch])
        parts = [batches(samples, samples.order(epoch), seed=[1, epoch], part=(k, 4)) for k in range(4)]
        for (descriptors, captions, masks), *shares in zip(whole, *parts, strict=True):
            kinds.add(descriptors.shape[1])
            np.testing.assert_array_equal(np.concatenate([one for one, *_ in shares]), descriptors)
            assert [len(one) for one, *_ in shares] == ([0, 1, 1, 1] if len(descriptors) == 3 else [0, 1, 0, 1])
            for _, *given in shares:
                np.testing.assert_array_equal(given[0], captions)
                np.testing.assert_array_equal(given[1], masks)
    if not assignments:
        assert len(read) == 4 * (5 + 8)  # each but its own; and of none one, for the shape
    assert kinds == ({1, 6} if "single_region_share=0.5" in assignments else {6})
    assert {mirrored for _, mirrored in read} == ({False, True} if "flip_probability=0.5" in assignments else {False})


def test_the_last_sample_of_a_medium_is_filled_with_its_captions_from_the_first_on():
    stored = store.Store(dataclasses.replace(VIDEOS, batch_size=5, captions_per_medium=5))
    words = VOCABULARY.words[1:]  # captions of one word: ids 1, 2, ...
    for n_captions, expected in ((1, [[1] * 5]), (3, [[1, 2, 3, 1, 2]]), (6, [[1, 2, 3, 4, 5], [6, 1, 2, 3, 4]])):
        medium = dataclasses.replace(MEDIA[0], captions=tuple(words[:n_captions]))
        samples = data_loader.training_samples(stored, VOCABULARY, [medium])
        assert samples.captions[..., 0].tolist() == expected
        assert samples.n_captions == n_captions
        assert (samples.masks.sum(axis=-1) == 2).all()  # the word and the end token


def test_captions_of_one_medium_share_its_descriptors(tensorflow):
    config = dataclasses.replace(VIDEOS, batch_size=5, captions_per_medium=2)
    stored = write_descriptors(config)
    samples = data_loader.training_samples(store.Store(config), VOCABULARY, MEDIA)
    assert samples.media_ids == ["v0", "v1", "v2"]
    assert (samples.n_captions, samples.n_batches()) == (5, 2)  # two media a batch: five captions are no whole number
    (descriptors, captions, masks), (_, last, _) = batches(samples, np.array([1, 2, 0]))
    np.testing.assert_array_equal(descriptors, [stored["v1"], stored["v2"]])
    assert captions.tolist() == [[1, 2, 0, 0, 0, 0], [1, 2, 0, 0, 0, 0], [5, 3, 4, 6, 5, 0], [2, 0, 0, 0, 0, 0]]
    assert masks.sum(axis=1).tolist() == [3, 3, 6, 2]  # v1 has one caption, which counts twice
    assert last.tolist() == [[1, 3, 4, 0], [1, 3, 0, 0]]
    validation = data_loader.validation_samples(store.Store(config), VOCABULARY, MEDIA)
    assert [captions.shape for _, captions, _ in batches(validation)] == [(3, 6)]


def assert_same(made, expected):
    assert len(made) == len(expected)
    for batch, other in zip(made, expected, strict=True):
        for part, other_part in zip(batch, other, strict=True):
            np.testing.assert_array_equal(part, other_part)


def test_batches_from_a_later_one_on(tensorflow):
    write_descriptors(VIDEOS)
    samples = data_loader.training_samples(store.Store(VIDEOS), VOCABULARY, MEDIA)
    order = samples.order(3)
    made = batches(samples, order)
    for first in range(4):
        assert_same(batches(samples, order, first), made[first:])
    assert_same(batches(samples, first=1), batches(samples, np.arange(5))[1:])  # without an order: as they are


@pytest.mark.parametrize("how", ["cut", "header", "missing"])
def test_batches_tell_which_file_is_damaged(how, tensorflow):
    write_descriptors(VIDEOS)
    path = VIDEOS.descriptors_dir / "v2.npy"
    path.unlink() if how == "missing" else damage(path, how)
    samples = data_loader.training_samples(store.Store(VIDEOS), VOCABULARY, MEDIA)
    message = "v2.npy is missing" if how == "missing" else r"v2.npy cannot be read \("
    came = 0
    with pytest.raises(UserError, match=message):
        for _ in samples.batches():
            came += 1
    assert came == 1  # v0, v0; then v1, v2


@pytest.mark.parametrize("config", [VIDEOS, IMAGES], ids=["video", "image"])
def test_some_training_batches_show_one_region_of_each_medium(config, tensorflow):
    config = dataclasses.replace(config, single_region_share=0.5, batch_size=1)
    stored = write_descriptors(config)
    regions = {media_id: np.arange(4 * 5).reshape(4, 5).astype(config.descriptor_dtype) for media_id in stored}
    if config.media == "video":
        for media_id, array in regions.items():
            np.save(store.Store(config).regions_path(media_id), array)
    else:
        regions = {media_id: data_loader.as_sequence(grid) for media_id, grid in stored.items()}
    samples = data_loader.training_samples(store.Store(config), VOCABULARY, MEDIA)
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


@pytest.mark.slow
def test_some_training_batches_have_the_grid_itself_below_the_top_of_a_pyramid(tensorflow):
    config = dataclasses.replace(IMAGES, pyramid="2,1", full_grid_share=0.5, batch_size=1)
    stored = write_descriptors(config)
    samples = data_loader.training_samples(store.Store(config), VOCABULARY, MEDIA)
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


@pytest.mark.slow
def test_some_images_are_mirrored_in_training(tensorflow):
    config = dataclasses.replace(IMAGES, flip_probability=0.25, batch_size=2)
    stored = write_descriptors(config)
    for media_id, grid in stored.items():
        np.save(store.Store(config).mirrored_path(media_id), grid + 100)
    media = [*MEDIA, dataclasses.replace(MEDIA[0], id="v9", captions=("a dog on the left",))]
    np.save(store.Store(config).path("v9"), stored["v0"])  # its mirror image is never asked for
    stored["v9"] = stored["v0"]
    samples = data_loader.training_samples(store.Store(config), VOCABULARY, media)
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
    store.Store(config).mirrored_path("v1").unlink()
    with pytest.raises(UserError, match="1 of 3 media have no descriptors"):
        store.Store(config).usable(MEDIA)
    assert store.Store(config).usable(MEDIA, for_training=False) == MEDIA


@pytest.mark.slow
def test_noise_on_single_regions_has_the_size_asked_for_and_can_be_repeated(tensorflow):
    config = dataclasses.replace(IMAGES, single_region_share=0.99, single_region_noise=0.5, batch_size=1)
    stored = write_descriptors(config)
    samples = data_loader.training_samples(store.Store(config), VOCABULARY, MEDIA)

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
