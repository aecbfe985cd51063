"""Stored descriptors: what is read, what is damaged, which media have them."""

import dataclasses
import json

import numpy as np
import pytest

import cfg
from datasets import store
from system.errors import UserError
from tests.stored_media import IMAGES, MEDIA, VIDEOS, damage, write_descriptors


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    """Everything is started in an empty folder."""
    monkeypatch.chdir(tmp_path)


def test_load_descriptors():
    for config in (VIDEOS, IMAGES):
        for media_id, descriptors in write_descriptors(config).items():
            loaded = store.Store(config).load(media_id)
            assert loaded.dtype == config.descriptor_dtype
            np.testing.assert_array_equal(loaded, descriptors)


@pytest.mark.parametrize("how", ["empty", "cut", "cut in its header", "header", "text"])
def test_damaged_descriptors_are_told(how):
    write_descriptors(VIDEOS)
    damage(VIDEOS.descriptors_dir / "v1.npy", how)
    message = r"^DATA/descriptors/MSR-VTT/.*/v1.npy cannot be read \(.+\): remove it and run preprocessing.py again"
    with pytest.raises(UserError, match=message):
        store.Store(VIDEOS).load("v1")


def test_descriptors_that_need_pickle_are_refused():
    write_descriptors(VIDEOS)
    np.save(VIDEOS.descriptors_dir / "v1.npy", np.array([{}], object))
    with pytest.raises(UserError, match=r"v1.npy cannot be read \(an array of object"):
        store.Store(VIDEOS).load("v1")


@pytest.mark.parametrize(
    "array, message",
    [
        (np.zeros((3, 5), np.float16), r"v2.npy has shape \(3, 5\), and .*v1.npy \(3, 4\): remove it"),
        (np.zeros((4, 4), np.float16), r"v2.npy has shape \(4, 4\), and .*v1.npy \(3, 4\): remove it"),
        (np.zeros((3, 4), np.int16), r"v2.npy holds no descriptors but int16 of shape \(3, 4\): remove it"),
        (np.zeros(4, np.float16), r"v2.npy holds no descriptors but float16 of shape \(4,\): remove it"),
        (np.zeros((0, 4), np.float16), r"v2.npy holds no descriptors but float16 of shape \(0, 4\): remove it"),
        (np.array([["a"]]), r"v2.npy holds no descriptors but <U1"),
    ],
)
def test_descriptors_unlike_their_neighbours_are_told_by_their_file(array, message):
    VIDEOS.descriptors_dir.mkdir(parents=True)
    np.save(VIDEOS.descriptors_dir / "v1.npy", np.zeros((3, 4), np.float16))
    np.save(VIDEOS.descriptors_dir / "v2.npy", array)
    stored = store.Store(VIDEOS)
    stored.load("v1")
    with pytest.raises(UserError, match=message):
        stored.load("v2")


def test_of_regions_there_may_be_any_number_and_another_float_will_do():
    VIDEOS.descriptors_dir.mkdir(parents=True)
    for media_id, n in (("v1", 3), ("v2", 7)):
        np.save(VIDEOS.descriptors_dir / f"{media_id}.npy", np.zeros((3, 4), np.float32))
        np.save(VIDEOS.descriptors_dir / f"{media_id}.regions.npy", np.zeros((n, 4), np.float16))
    stored = store.Store(VIDEOS)
    assert [len(stored.load_regions(media_id)) for media_id in ("v1", "v2")] == [3, 7]
    assert stored.load("v2").dtype == np.float16


def test_missing_descriptors_are_told():
    message = "v9.npy is missing: run `python preprocessing.py --dataset MSR-VTT` first"
    with pytest.raises(UserError, match=message):
        store.Store(VIDEOS).load("v9")


def test_cnn_weights_id():
    assert store.Store(VIDEOS).cnn_weights_id() is None
    write_descriptors(VIDEOS)
    (VIDEOS.descriptors_dir / "cnn.json").write_text('{"cnn": "inception_v3", "weights_id": "0123"}')
    assert store.Store(VIDEOS).cnn_weights_id() == "0123"


def write_failures(*ids, config=VIDEOS):
    config.descriptors_dir.mkdir(parents=True, exist_ok=True)
    for media_id in ids:
        store.Store(config).noted.note(media_id, "no video in it")


def test_usable_media_leaves_recorded_failures_out():
    write_descriptors(VIDEOS)
    assert store.Store(VIDEOS).usable(MEDIA) == MEDIA
    (VIDEOS.descriptors_dir / "v1.npy").unlink()
    write_failures("v1", "v2", "of another split")  # v2 has been computed since
    assert store.Store(VIDEOS).usable(MEDIA) == [MEDIA[0], MEDIA[2]]


def test_usable_media_refuses_gaps():
    message = (
        r"^{} of 3 media have no descriptors in DATA/descriptors/MSR-VTT/inception_v3-3frames-float16, such as {}: "
    )
    run = r"run `python preprocessing.py --dataset MSR-VTT` with the same --set$"
    with pytest.raises(UserError, match=message.format(3, "v0") + run):
        store.Store(VIDEOS).usable(MEDIA)
    write_descriptors(VIDEOS, MEDIA[:1])
    write_failures("v1")
    with pytest.raises(UserError, match=message.format(1, "v2") + run):
        store.Store(VIDEOS).usable(MEDIA)


# Several data sets

BOTH = cfg.override(VIDEOS, ["more_sources=Demo"])
OTHER = BOTH.of("Demo")
ADDED = [dataclasses.replace(medium, id=f"Demo/{medium.id}") for medium in MEDIA]


def test_media_of_another_data_set_have_their_descriptors_in_its_folder():
    own, other = write_descriptors(VIDEOS), write_descriptors(OTHER, [dataclasses.replace(MEDIA[0], id="v9")])
    stored = store.Store(BOTH)
    np.testing.assert_array_equal(stored.load("v1"), own["v1"])
    np.testing.assert_array_equal(stored.load("Demo/v9"), other["v9"])
    assert stored.path("Demo/v9") == OTHER.descriptors_dir / "v9.npy"
    assert stored.regions_path("Demo/v9") == OTHER.descriptors_dir / "v9.regions.npy"
    message = f"^{OTHER.descriptors_dir}/v8.npy is missing: run `python preprocessing.py --dataset MSR-VTT Demo` first"
    with pytest.raises(UserError, match=message):
        stored.load("Demo/v8")


def test_usable_media_of_several_data_sets():
    write_descriptors(VIDEOS)
    stored = store.Store(BOTH)
    message = rf"^3 of 6 media have no descriptors in {OTHER.descriptors_dir}, such as Demo/v0: run .* MSR-VTT Demo`"
    with pytest.raises(UserError, match=message):
        stored.usable([*MEDIA, *ADDED])
    write_descriptors(OTHER, MEDIA[:1])
    write_failures("v1", "v2", config=OTHER)
    assert stored.usable([*MEDIA, *ADDED]) == [*MEDIA, ADDED[0]]
    write_failures("v0", "v1", "v2", config=OTHER)
    (OTHER.descriptors_dir / "v0.npy").unlink()
    message = f"could read none of the 3 media; {OTHER.descriptors_dir}/failures.jsonl says why$"
    with pytest.raises(UserError, match=message):
        stored.usable([*MEDIA, *ADDED])


def test_data_sets_seen_by_a_cnn_of_different_weights_do_not_mix():
    for config, weights in ((VIDEOS, "0123"), (OTHER, "4567")):
        write_descriptors(config)
        (config.descriptors_dir / "cnn.json").write_text(json.dumps({"weights_id": weights}))
    with pytest.raises(
        UserError, match=f"{OTHER.descriptors_dir} hold descriptors of inception_v3 with different weig"
    ):
        store.Store(BOTH).cnn_weights_id()
    (OTHER.descriptors_dir / "cnn.json").unlink()
    assert store.Store(BOTH).cnn_weights_id() == "0123"


def test_usable_media_refuses_a_split_without_any():
    with pytest.raises(UserError, match="a split of DATA/MSR_VTT has no media: training needs a train and a validate"):
        store.Store(VIDEOS).usable([])
    write_failures("v0", "v1", "v2")
    with pytest.raises(UserError, match=r"could read none of the 3 media; .*/failures.jsonl says why"):
        store.Store(VIDEOS).usable(MEDIA)


def test_notes_of_another_form_are_told():
    VIDEOS.descriptors_dir.mkdir(parents=True)
    (VIDEOS.descriptors_dir / "cnn.json").write_text("[1]")
    with pytest.raises(UserError, match=r"cnn\.json holds no table: expected"):
        store.Store(VIDEOS).cnn_weights_id()


@pytest.mark.parametrize(
    "config, expected",
    [
        (VIDEOS, {"v0", "v1"}),
        (dataclasses.replace(VIDEOS, single_region_share=0.5), {"v1"}),
        (BOTH, {"v0", "v1", "Demo/v1"}),
    ],
)
def test_what_is_complete_is_what_every_file_is_there_of(config, expected):
    """By one listing of the folder as by a look at each file."""
    stored, ids = store.Store(config), ["v0", "v1", "v2", "v", *(["Demo/v0", "Demo/v1"] if config.more_sources else [])]
    assert stored.complete(ids) == set()  # there is no folder yet
    write_descriptors(VIDEOS, MEDIA[:2])
    write_descriptors(OTHER, MEDIA[1:])
    np.save(stored.regions_path("v1"), np.zeros((3, 4)))
    assert stored.complete(ids) == {media_id for media_id in ids if stored.is_complete(media_id)} == expected
    assert stored.complete(ids, for_training=False) == expected | {"v0"}
