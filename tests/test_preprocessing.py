"""Stage 1: what is stored, and what is left when something is broken."""

import dataclasses
import json

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


def preprocess(config):
    return preprocessing.preprocess(config, annotations.read_media(config))


class MeanColour:
    """A CNN of one idea: the mean colour of each quarter of the picture, a 2 x 2 grid with D = 3."""

    input_size, weights_id = 8, "mean-colour"

    def __call__(self, frames):
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
    stored, failures = preprocess(VIDEOS)
    assert stored == 2
    assert set(failures) == {"v1", "v3"}
    assert "v3.mp4" in failures["v3"]
    assert json.loads((VIDEOS.descriptors_dir / "failures.json").read_text()) == failures
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
    (demo / "videos/v1.mp4").write_bytes((demo / "videos/v0.mp4").read_bytes())  # mended
    stored, failures = preprocess(VIDEOS)
    assert (stored, set(failures)) == (2, {"v3"})
    assert lost.exists()
    assert kept.stat().st_mtime_ns == before
    without = dataclasses.replace(VIDEOS, single_region_share=0.0)
    store.Store(VIDEOS).regions_path("v0").unlink()
    assert preprocess(without)[0] == 0  # nobody asked for regions
    assert preprocess(VIDEOS)[0] == 1


def test_where_nothing_is_missing_the_failures_are_those_of_now(demo):
    """A run can be killed after its last medium, before it notes them."""
    for number in (1, 3):
        (demo / f"videos/v{number}.mp4").write_bytes((demo / "videos/v0.mp4").read_bytes())
    assert preprocess(VIDEOS) == (4, {})
    failures = VIDEOS.descriptors_dir / "failures.json"
    assert json.loads(failures.read_text()) == {}
    for left in (None, '{"v1": "broken"}', ""):
        failures.unlink()
        if left is not None:
            failures.write_text(left)
        assert preprocess(VIDEOS) == (0, {})
        assert json.loads(failures.read_text()) == {}


def test_descriptors_of_other_weights_are_not_mixed(demo, monkeypatch):
    preprocess(VIDEOS)
    monkeypatch.setattr(MeanColour, "weights_id", "other")
    store.Store(VIDEOS).path("v0").unlink()
    with pytest.raises(UserError, match="with other weights"):
        preprocess(VIDEOS)
