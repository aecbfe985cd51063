"""The registry of CNNs, and frames to descriptors."""

import functools
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cfg
from system.errors import UserError
from vision import cnn, descriptors

REPOSITORY = Path(__file__).resolve().parents[2]
INCEPTION_SIZE = 107  # the smallest input that has 2 x 2 cells


def random_frames(n, size):
    return np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def test_registry_answers_without_tensorflow():
    code = "import sys; from vision import cnn\n"
    code += "print(cnn.grid_shape('inception_v3'), {'tensorflow', 'keras'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert result.stdout == "(8, 8) set()\n"


@pytest.mark.parametrize(
    "name, size, cells",
    [
        ("inception_v3", None, 8),
        ("inception_v3", 75, 1),
        ("inception_v3", 555, 16),
        ("efficientnet_lite0", None, 8),
        ("efficientnet_lite0", 32, 1),
        ("efficientnet_lite0", 512, 16),
    ],
)
def test_grid_shape(name, size, cells):
    assert cnn.grid_shape(name, size) == (cells, cells)


def test_dim_image():
    assert cnn.dim_image("inception_v3") == 2048
    assert cnn.dim_image("efficientnet_lite0") == 1280


@pytest.mark.parametrize(
    "name, size, sizes",
    [
        ("inception_v3", 300, "299 or 331"),
        ("inception_v3", 60, "75 or 107"),
        ("efficientnet_lite0", 299, "288 or 320"),
        ("efficientnet_lite0", 0, "32 or 64"),
        ("efficientnet_lite0", -32, "32 or 64"),
    ],
)
def test_size_without_whole_cells_is_refused(name, size, sizes):
    for answer in (cnn.grid_shape, lambda name, size: cnn.load(name, input_size=size)):
        with pytest.raises(UserError, match=rf"an input of {size} pixels \(cnn_input_size, .* take {sizes} "):
            answer(name, size)


def test_unknown_cnn_is_refused():
    for answer in (cnn.grid_shape, cnn.dim_image, cnn.load):
        with pytest.raises(UserError, match="no CNN 'vgg'; there are inception_v3, efficientnet_lite0"):
            answer("vgg")


@pytest.mark.parametrize("name", cnn.CNNS)
def test_weights_file_must_exist(name, tmp_path):
    with pytest.raises(UserError, match=r"cnn_weights: no file .*none\.h5"):
        cnn.load(name, tmp_path / "none.h5")


@pytest.fixture(scope="module")
def lite0():
    return cnn.load("efficientnet_lite0")


def test_lite0_pinned(lite0):
    """On a drawn picture: the activations of the day when photographs were classified right."""
    y, x, channel = np.indices((256, 256, 3))
    grids = lite0(((3 * y + 5 * x + 70 * channel) % 256).astype(np.uint8)[None])
    assert (lite0.name, lite0.input_size, lite0.grid, lite0.dim) == ("efficientnet_lite0", 256, (8, 8), 1280)
    assert lite0.weights_id == "8022bcda5106"
    assert grids.shape == (1, 8, 8, 1280)
    assert grids.dtype == np.float32
    np.testing.assert_allclose([grids.mean(), grids.std()], [0.16612, 0.68941], rtol=1e-3)
    np.testing.assert_allclose(grids[0, 0, 0, [113, 1189, 328]], [6.0, 5.0912, 4.8702], rtol=1e-3)
    np.testing.assert_allclose(grids[0, 3, 4, [897, 287, 761]], [4.4594, 3.4780, 3.2076], rtol=1e-3)
    np.testing.assert_allclose(grids[0, 7, 7, [113, 897, 328]], [5.6513, 4.2983, 3.8261], rtol=1e-3)


@pytest.mark.slow
def test_any_number_of_frames_is_one_trace(lite0):
    frames = random_frames(cnn.CHUNK + 3, 256)
    together = lite0(frames)
    for n in (0, 1, cnn.CHUNK):
        np.testing.assert_allclose(lite0(frames[:n]), together[:n], atol=1e-4)
    np.testing.assert_allclose(lite0(frames[cnn.CHUNK :]), together[cnn.CHUNK :], atol=1e-4)
    assert lite0._forward.experimental_get_tracing_count() == 1


def test_large_frames_are_fewer_at_a_time(lite0, monkeypatch):
    frames, sizes, forward = random_frames(5, 256), [], lite0._forward
    together = lite0(frames)
    monkeypatch.setattr(lite0, "_forward", lambda some: (sizes.append(len(some)), forward(some))[1])
    for pixels in (3 * 256**2, 256**2 - 1):  # but never one alone, if there are more
        monkeypatch.setattr(cnn, "PIXELS_AT_ONCE", pixels)
        np.testing.assert_allclose(lite0(frames), together, atol=1e-4)
    assert sizes == [3, 2, 2, 2, 1]


@pytest.mark.slow
def test_bfloat16_changes_little(lite0):
    frames = random_frames(2, 256)
    half = cnn.load("efficientnet_lite0", precision="bfloat16")
    grids, expected = half(frames), lite0(frames)
    assert grids.dtype == np.float32 and half.weights_id == lite0.weights_id
    assert 0 < np.abs(grids - expected).mean() < 0.05 * expected.std()
    again = cnn.load("efficientnet_lite0")  # what was asked for one CNN does not stay for the next
    np.testing.assert_array_equal(again(frames), expected)


@pytest.mark.slow
def test_larger_input_gives_a_finer_grid(lite0):
    fine, frames = cnn.load("efficientnet_lite0", input_size=320), random_frames(1, 320)
    assert fine.grid == (10, 10)
    grids = fine(frames)
    assert grids.shape == (1, 10, 10, 1280)
    assert fine.weights_id == lite0.weights_id
    same = lite0.at(320)
    np.testing.assert_array_equal(same(frames), grids)
    assert (same.grid, lite0.grid) == ((10, 10), (8, 8))
    assert lite0._forward.experimental_get_tracing_count() == 1  # one graph for all sizes


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((1, 224, 256, 3), np.uint8),
        np.zeros((1, 256, 256, 3), np.float32),
        np.zeros((256, 256, 3), np.uint8),
        np.zeros((1, 256, 256, 1), np.uint8),
    ],
)
def test_frames_of_another_shape_or_type_are_a_callers_error(lite0, frames):
    with pytest.raises(ValueError, match=r"frames must be uint8 \[n, 256, 256, 3\]"):
        lite0(frames)


@pytest.fixture(scope="module")
def inception(tmp_path_factory):
    """A folder with the files of two randomly initialised networks, and these, by the start of their files' names."""
    import h5py
    import keras
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group  # the public way is gone

    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("inception")
    models = {}
    for start, include_top in (("top", True), ("notop", False)):
        model = keras.applications.InceptionV3(include_top, None, input_shape=(INCEPTION_SIZE, INCEPTION_SIZE, 3))
        model.save_weights(folder / f"{start}.weights.h5")
        with h5py.File(folder / f"{start}.h5", "w") as file:
            save_weights_to_hdf5_group(file, model)
        models[start] = keras.Model(model.input, model.get_layer("mixed10").output)
    yield folder, models
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.parametrize("file", ["notop.weights.h5", "top.h5", "top.weights.h5"])
def test_inception_weights_from_a_file(inception, file):
    folder, models = inception
    loaded = cnn.load("inception_v3", folder / file, INCEPTION_SIZE)
    assert loaded.weights_id == cnn._weights_id(models[file.split(".")[0]])


@pytest.mark.slow
def test_inception_descriptors(inception):
    from keras.applications.inception_v3 import preprocess_input

    folder, models = inception
    extract = cnn.load("inception_v3", folder / "notop.h5", INCEPTION_SIZE)
    frames = random_frames(1, INCEPTION_SIZE)
    expected = models["notop"](preprocess_input(frames.astype(np.float32)), training=False)
    grids = extract(frames)
    assert extract.weights_id == cnn._weights_id(models["notop"])
    assert grids.shape == (1, *extract.grid, extract.dim) == (1, 2, 2, 2048)
    np.testing.assert_allclose(grids, expected, atol=1e-5 * np.max(expected))


@pytest.mark.slow
def test_inception_refuses_other_files(inception, tmp_path, monkeypatch):
    import h5py
    import keras

    folder, _ = inception
    shutil.copy(folder / "notop.weights.h5", tmp_path / "incomplete.weights.h5")
    with h5py.File(tmp_path / "incomplete.weights.h5", "a") as file:
        del file["layers/conv2d_5"]
    (tmp_path / "text.h5").write_text("weights")
    monkeypatch.setattr(keras.applications, "InceptionV3", functools.cache(keras.applications.InceptionV3))
    for name, reason in (("incomplete.weights.h5", "weights of Keras' InceptionV3"), ("text.h5", "a sound HDF5 file")):
        with pytest.raises(UserError, match=f"{name}: not {reason}"):
            cnn.load("inception_v3", tmp_path / name, INCEPTION_SIZE)


@pytest.fixture
def keras_download(monkeypatch, tmp_path):
    """Keras' download with an empty cache, from a local address that the test may fill."""
    import keras

    monkeypatch.setattr(keras.utils, "get_file", functools.partial(keras.utils.get_file, cache_dir=tmp_path / "cache"))
    monkeypatch.setattr(cnn, "INCEPTION_URL", (tmp_path / cnn.INCEPTION_FILE).as_uri())
    return tmp_path / cnn.INCEPTION_FILE


def test_inception_that_cannot_be_downloaded_names_the_ways_out(keras_download):
    with pytest.raises(UserError) as caught:
        cnn.load("inception_v3")
    message = str(caught.value)
    assert cnn.INCEPTION_URL in message
    assert "--set cnn_weights=FILE" in message
    assert "--set cnn=efficientnet_lite0" in message


def test_inception_downloaded_file(keras_download, monkeypatch):
    keras_download.write_bytes(b"weights")
    monkeypatch.setattr(cnn, "INCEPTION_MD5", hashlib.md5(b"weights").hexdigest())
    assert Path(cnn._download_inception()).read_bytes() == b"weights"


class Averages:
    """An extractor whose cells are the mean colours of 4 x 4 pixels."""

    name, dim, weights_id = "averages", 3, "none"

    def __init__(self, cells):
        self.input_size, self.grid = 4 * cells, (cells, cells)

    def at(self, input_size):
        return Averages(cnn.grid_shape("inception_v3", input_size)[0])

    def __call__(self, frames):
        cells = self.grid[0]
        return frames.reshape(len(frames), cells, 4, cells, 4, 3).mean(axis=(2, 4)).astype(np.float32)


def test_several_sizes_are_enlarged_and_averaged():
    coarse, fine = Averages(1), Averages(2)
    both = cnn.MultiScale([coarse, fine])
    assert (both.input_size, both.grid, both.dim) == (8, (2, 2), 3)
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    frames[0, :, 4:] = 200  # the right half
    grids = both(frames)
    assert grids.shape == (2, 2, 2, 3) and not grids[1].any()
    np.testing.assert_allclose(grids[0, :, :, 0], [[50, 150], [50, 150]], atol=1)  # of 100, and of 0 and 200


def test_what_a_cnn_says_of_one_side_alone_is_shared_with_the_other():
    class Left(Averages):
        """A CNN that sees more on the left."""

        def __call__(self, frames):
            return super().__call__(frames) * np.array([3, 1], np.float32)[None, None, :, None]

    frames = np.zeros((1, 8, 8, 3), np.uint8)
    frames[0, :, 4:] = 200  # the right half
    np.testing.assert_allclose(cnn.MultiScale([Left(2)])(frames)[0, :, :, 0], [[0, 400], [0, 400]])


def test_one_size_of_several_is_the_size_of_captioning(monkeypatch):
    """Whatever the CNN's margin: 2, 4 and 8 cells."""
    monkeypatch.setattr(descriptors, "load_cnn", lambda config: Averages(2))
    config = cfg.override(cfg.DATASETS["Flickr30k"], [f"cnn_input_size={INCEPTION_SIZE}"])
    several = descriptors.load_multi_scale_cnn(config)
    assert [extractor.grid for extractor in several.extractors] == [(2, 2), (4, 4), (8, 8)]
    assert several.grid == (8, 8)


def test_a_weights_file_that_refers_to_others_or_promises_too_much_is_refused(tmp_path):
    import h5py

    def make(name, fill):
        with h5py.File(tmp_path / name, "w") as file:
            fill(file)

    make("link.h5", lambda file: file.__setitem__("a", h5py.ExternalLink("other.h5", "/a")))
    make("soft.h5", lambda file: file.__setitem__("a", h5py.SoftLink("/b")))
    make("raw.h5", lambda file: file.create_dataset("a", (4,), "u1", external=[("/etc/passwd", 0, 4)]))
    make("large.h5", lambda file: file.create_dataset("a", (1 << 40,), "f4", chunks=(1 << 20,)))

    def in_itself(file):
        group = file.create_group("a")
        for name in "bcd":
            group[name] = file["/"]

    make("circle.h5", in_itself)
    for name, reason in (
        ("link.h5", "refers to something outside"),
        ("soft.h5", "refers to something outside"),
        ("raw.h5", "refers to other files"),
        ("large.h5", "promises more than 512 MB"),
        ("circle.h5", "promises more than 512 MB or 10000 arrays"),
    ):
        with pytest.raises(UserError, match=rf"{name}: {reason}"):
            cnn.check_h5(tmp_path / name)
