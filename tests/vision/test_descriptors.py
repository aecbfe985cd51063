"""From media to the captioner's input: shapes and dtypes."""

import numpy as np
import pytest
from PIL import Image

import cfg
from system.errors import UserError
from vision import descriptors, writing

VIDEOS = cfg.override(cfg.DATASETS["Demo"], ["n_sampled_frames=3"])
IMAGES = cfg.override(cfg.DATASETS["Flickr8k"], ["flip_probability=0"])


def test_captioning_descriptors_by_hand():
    grids = np.arange(2 * 2 * 2 * 1, dtype=np.float32).reshape(2, 2, 2, 1)
    assert descriptors.captioning_descriptors(VIDEOS, grids).tolist() == [[1.5], [5.5]]
    assert descriptors.captioning_descriptors(VIDEOS, grids[:1]).tolist() == [[1.5]] * 3  # an image is a clip
    assert descriptors.captioning_descriptors(IMAGES, grids[:1]).tolist() == grids[0].tolist()
    with pytest.raises(UserError, match="descriptor_dtype=float32"):
        descriptors.captioning_descriptors(IMAGES, grids + 70000)


def test_cnn_inputs_of_images_and_videos(tmp_path):
    Image.fromarray(np.full((10, 20, 3), 7, np.uint8)).save(tmp_path / "a.png")
    assert descriptors.cnn_inputs(IMAGES, tmp_path / "a.png", 8).tolist() == np.full((1, 8, 8, 3), 7).tolist()
    writing.write_video(tmp_path / "a.mp4", [np.full((16, 16, 3), 60 * k, np.uint8) for k in range(5)], 5)
    levels = descriptors.cnn_inputs(VIDEOS, tmp_path / "a.mp4", 8).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(levels, [0, 120, 240], atol=4)
    middle = descriptors.cnn_inputs(IMAGES, tmp_path / "a.mp4", 8)  # for a captioner of images
    assert middle.shape == (1, 8, 8, 3)
    np.testing.assert_allclose(middle.mean(), 120, atol=4)
