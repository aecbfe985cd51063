"""Stage 1: what is stored, and what is left when something is broken."""

import dataclasses
import json
import time

import numpy as np
import pytest
from PIL import Image

import cfg
import preprocessing
from datasets import annotations, store
from system.errors import UserError
from vision import cnn, descriptors, writing

VIDEOS = cfg.override(cfg.DATASETS["Demo"], ["n_sampled_frames=3"])
IMAGES = cfg.override(cfg.DATASETS["Flickr8k"], ["flip_probability=0"])


def preprocess(config, **options):
    return preprocessing.preprocess(config, annotations.read_media(config), **options)


class MeanColour:
    """A CNN of one idea: the mean colour of each quarter of the picture, a 2 x 2 grid with D = 3."""

    input_size, weights_id, frames_at_once = 8, "mean-colour", 4

    def __call__(self, frames):
        assert len(frames) == self.frames_at_once  # or what comes out may depend on the others in the batch
        return frames.reshape(-1, 2, 4, 2, 4, 3).mean(axis=(2, 4)).astype(np.float32)  # [n, 2, 2, 3]


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """Three clips in the layout of MSR-VTT, of which the second is no video."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cnn, "load", lambda *_: MeanColour())
    folder = tmp_path / "DATA/Demo"
    (folder / "videos").mkdir(parents=True)
    for number in (0, 2):
        frames = [np.full((16, 16, 3), 40 * (number + k), np.uint8) for k in range(3)]
        writing.write_video(folder / "videos" / f"v{number}.mp4", frames, 5)
    (folder / "videos/v1.mp4").write_bytes(b"no video")
    videos = [{"video_id": f"v{number}", "split": "train"} for number in range(4)]  # of the last there is no file
    sentences = [{"video_id": video["video_id"], "caption": "grey"} for video in videos]
    info = {"videos": videos, "sentences": sentences}
    (folder / "train_val_videodatainfo.json").write_text(json.dumps(info))
    return folder


def test_broken_and_missing_media_are_recorded_and_the_rest_goes_on(demo):
    stored, failures, n_old = preprocess(VIDEOS)
    assert (stored, n_old) == (2, 0)
    assert set(failures) == {"v1", "v3"}
    assert "v3.mp4" in failures["v3"]
    assert store.Store(VIDEOS).failures() == failures
    array = store.Store(VIDEOS).load("v2")
    assert (array.dtype, array.shape) == (np.float16, (3, 3))
    np.testing.assert_allclose(array.astype(float), np.repeat([[80], [120], [160]], 3, axis=1), atol=4)
    regions = store.Store(VIDEOS).load_regions("v2")
    assert regions.shape == (descriptors.N_REGIONS, 3)
    assert {round(float(value) / 40) for value in regions[:, 0]} == {2, 3, 4}  # cells of all three frames


def test_mirror_images_are_stored_where_training_wants_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cnn, "load", lambda *_: MeanColour())
    folder = tmp_path / "DATA/Flickr8k"
    (folder / "Flicker8k_Dataset").mkdir(parents=True)
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:, :4] = 200  # bright on the left
    Image.fromarray(picture).save(folder / "Flicker8k_Dataset/a.jpg", quality=95)
    (folder / "Flickr8k.token.txt").write_text("a.jpg#0\ta wall\n")
    for split, names in (("train", "a.jpg\n"), ("dev", ""), ("test", "")):
        (folder / f"Flickr_8k.{split}Images.txt").write_text(names)
    assert preprocess(IMAGES)[0] == 1
    mirrored = dataclasses.replace(IMAGES, flip_probability=0.5)
    assert preprocess(mirrored)[0] == 1
    for is_mirrored, expected in ((False, [[200, 0], [200, 0]]), (True, [[0, 200], [0, 200]])):
        grid = store.Store(mirrored).load("a", is_mirrored)  # [2, 2, 3]
        np.testing.assert_allclose(grid[..., 0].astype(float), expected, atol=8)


def test_a_second_run_does_only_what_is_missing(demo):
    preprocess(VIDEOS)
    kept, lost = (store.Store(VIDEOS).path(name) for name in ("v0", "v2"))
    before = kept.stat().st_mtime_ns
    lost.unlink()
    stored, failures, n_old = preprocess(VIDEOS)
    assert (stored, set(failures), n_old) == (1, {"v1", "v3"}, 2)
    assert lost.exists()
    assert kept.stat().st_mtime_ns == before
    without = dataclasses.replace(VIDEOS, single_region_share=0.0)
    store.Store(VIDEOS).regions_path("v0").unlink()
    assert preprocess(without)[0] == 0  # nobody asked for regions
    assert preprocess(VIDEOS)[0] == 1


def mend(demo, media_id):
    (demo / f"videos/{media_id}.mp4").write_bytes((demo / "videos/v0.mp4").read_bytes())


def test_failures_are_tried_again_where_that_is_asked_for(demo, monkeypatch):
    failures = preprocess(VIDEOS).failures
    mend(demo, "v1")
    monkeypatch.setattr(descriptors, "cnn_inputs", None)  # nothing is decoded
    assert preprocess(VIDEOS) == (0, failures, 2)
    monkeypatch.undo()
    monkeypatch.chdir(demo.parents[1])
    monkeypatch.setattr(cnn, "load", lambda *_: MeanColour())
    stored, failures, n_old = preprocess(VIDEOS, retry_failures=True)
    assert (stored, set(failures), n_old) == (1, {"v3"}, 0)
    store.Store(VIDEOS).path("v1").unlink()
    assert preprocess(VIDEOS)[:1] == (1,)  # it is no failure any more


def test_what_is_complete_is_no_failure_whatever_is_noted(demo):
    preprocess(VIDEOS)
    store.Store(VIDEOS).noted.note("v0", "broken")
    stored, failures, n_old = preprocess(VIDEOS)
    assert (stored, set(failures), n_old) == (0, {"v1", "v3"}, 2)


def test_what_another_process_has_done_meanwhile_is_not_done_again(demo, monkeypatch):
    """Between the look at the folder and the claim it has stored v0, v3 too, and noted v2 as a failure."""
    preprocess(VIDEOS)
    stored = store.Store(VIDEOS)
    array = stored.load("v0")
    for path in (*stored.paths("v0"), *stored.paths("v2"), stored.noted.path):
        path.unlink()
    stored.noted.note("v3", "not tried again here")

    def meanwhile(*_):
        for path in (*stored.paths("v0"), *stored.paths("v3")):
            np.save(path, array)
        stored.noted.note("v2", "no luck")
        return MeanColour()

    monkeypatch.setattr(cnn, "load", meanwhile)
    n_stored, failures, n_old = preprocess(VIDEOS)
    assert (n_stored, n_old) == (0, 0) and failures.keys() == {"v1", "v2"} and failures["v2"] == "no luck"


def test_without_patience_a_file_is_a_failure_with_that_reason(demo, fake_ffmpeg):
    for number in (1, 3):
        mend(demo, f"v{number}")
    fake_ffmpeg("exec sleep 60")
    start = time.monotonic()
    config = cfg.override(VIDEOS, ["ffmpeg_patience=1"])
    outcome = preprocess(config)
    assert time.monotonic() - start < 30
    assert set(outcome.failures) == {"v0", "v1", "v2", "v3"}
    assert all("ffmpeg gave nothing for 1 s, and was ended" in reason for reason in outcome.failures.values())


def test_batches_are_full_and_everyone_gets_its_own():
    """Of media of 1 to 9 frames; what the CNN sees is told by the number of its frame."""
    rng = np.random.default_rng(0)
    decoded = [(name, rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)) for name, n in enumerate((1, 3, 9, 1, 4, 2))]
    for some in (decoded, decoded[:1], decoded[:0]):
        found = list(preprocessing.through_cnn(MeanColour(), iter(some)))
        assert [name for name, _ in found] == [name for name, _ in some]
        for (_, inputs), (_, grids) in zip(some, found, strict=True):
            expected = inputs.reshape(-1, 2, 4, 2, 4, 3).mean(axis=(2, 4)).astype(np.float32)
            np.testing.assert_array_equal(grids, expected)


def test_descriptors_of_other_weights_are_not_mixed(demo, monkeypatch):
    preprocess(VIDEOS)
    monkeypatch.setattr(MeanColour, "weights_id", "other")
    store.Store(VIDEOS).path("v0").unlink()
    with pytest.raises(UserError, match="with other weights"):
        preprocess(VIDEOS)
