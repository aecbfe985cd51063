"""EfficientNet-Lite: the checkpoint reader, the conversion, and what the network sees."""

import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from system.errors import UserError
from vision import efficientnet_lite, geometry

ROOT = Path(__file__).resolve().parents[2]
LITE0 = "efficientnet_lite0"
MILITARY_UNIFORM = 652  # in the order of the ImageNet classes
GRACE_HOPPER = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"

# A checkpoint written by hand, as pickle protocol 0: "(" marks, "t" closes a tuple, "Q" is a persistent id, "R" calls.
FRONT = (
    b"L119547037146038801333356L\n.",  # magic number
    b"I1001\n.",  # protocol
    b"(dS'little_endian'\nI01\ns.",
)
STORAGES = {"7": np.arange(8, dtype="<f4"), "9": np.array([123], "<i8")}


def pickled_tensor(kind, key, offset, shape, stride):
    numbers = [b"(" + b"".join(b"I%d\n" % n for n in part) + b"t" for part in (shape, stride)]
    storage = b"(S'storage'\nctorch\n%s\nS'%s'\nS'cpu'\nI0\nNtQ" % (kind.encode(), key.encode())
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"I%d\n" % offset + numbers[0] + numbers[1] + b"I00\nNtR"


TENSORS = b"".join(
    [
        b"ccollections\nOrderedDict\n(tR",
        b"S'transposed'\n" + pickled_tensor("FloatStorage", "7", 2, (2, 3), (1, 2)) + b"s",
        b"S'whole'\n" + pickled_tensor("FloatStorage", "7", 0, (8,), (1,)) + b"s",
        b"S'scalar'\n" + pickled_tensor("LongStorage", "9", 0, (), ()) + b"s.",
    ]
)


def write_checkpoint(path, front=FRONT, tensors=TENSORS, storages=STORAGES):
    keys = b"(l" + b"".join(b"S'%s'\na" % key.encode() for key in storages) + b"."
    rows = [len(numbers).to_bytes(8, "little") + numbers.tobytes() for numbers in storages.values()]
    path.write_bytes(b"".join([*front, tensors, keys, *rows]))
    return path


def test_checkpoint_tensors_are_windows_into_storages(tmp_path):
    tensors = efficientnet_lite.read_checkpoint(write_checkpoint(tmp_path / "small.pth"))
    assert list(tensors) == ["transposed", "whole", "scalar"]
    np.testing.assert_array_equal(tensors["transposed"], [[2, 4, 6], [3, 5, 7]])
    np.testing.assert_array_equal(tensors["whole"], np.arange(8))
    assert tensors["whole"].dtype == np.float32
    assert tensors["scalar"] == 123


@pytest.mark.parametrize(
    "evil, named",
    [
        (b"cos\nsystem\n(S'touch evil'\ntR.", "calls os.system"),
        (b'cbuiltins\neval\n(S\'open("evil", "w")\'\ntR.', "calls builtins.eval"),
        (b"\x80\x04\x8c\x0bcollections\x8c\x15OrderedDict.__class__\x93.", "of a later protocol"),
        (b"(S'touch evil'\nios\nsystem\n.", "calls os.system"),
    ],
)
@pytest.mark.parametrize("place", ["first", "tensors"])
def test_checkpoint_that_would_run_something_is_refused(tmp_path, monkeypatch, evil, named, place):
    monkeypatch.chdir(tmp_path)
    parts = {"front": (evil,)} if place == "first" else {"tensors": evil}
    path = write_checkpoint(tmp_path / "evil.pth", **parts)
    with pytest.raises(UserError, match=rf"evil\.pth: .* {named}"):
        efficientnet_lite.read_checkpoint(path)
    assert os.listdir(tmp_path) == ["evil.pth"]


def test_files_that_are_no_checkpoint_are_refused(tmp_path):
    (tmp_path / "empty.pth").touch()
    (tmp_path / "text.pth").write_text("weights")
    (tmp_path / "zip.pth").write_bytes(b"PK\x03\x04 as newer versions of PyTorch write")
    write_checkpoint(tmp_path / "magic.pth", front=(b"L1L\n.", *FRONT[1:]))
    write_checkpoint(tmp_path / "beyond.pth", storages={**STORAGES, "7": np.arange(7, dtype="<f4")})
    whole = write_checkpoint(tmp_path / "whole.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[:-1])
    for name in ("empty", "text", "zip", "magic", "beyond", "cut"):
        with pytest.raises(UserError, match=f"{name}.pth: not a PyTorch checkpoint of the older format"):
            efficientnet_lite.read_checkpoint(tmp_path / f"{name}.pth")
    with pytest.raises(UserError, match=r"none\.pth: No such file"):
        efficientnet_lite.read_checkpoint(tmp_path / "none.pth")


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"\x80\x02Nr\xff\xff\xff\x3f.", "it notes 1073741823 things"),  # an array of 8 GiB, for one number
        (b"\x80\x05\x96\xff\xff\xff\xff\x01\0\0\0.", "not a PyTorch checkpoint"),  # 8 GiB that are not there
        (b"\x80\x04\x8e\xff\xff\xff\xff\x01\0\0\0.", "not a PyTorch checkpoint"),
        (b"\x80\x02T\xff\xff\xff\x7f.", "not a PyTorch checkpoint"),
    ],
)
def test_a_length_is_not_believed(tmp_path, content, reason):
    (tmp_path / "x.pth").write_bytes(content)
    code = (
        "import re, resource\nfrom vision import efficientnet_lite\n"
        "resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\n"
        f"try:\n    efficientnet_lite.read_checkpoint({str(tmp_path / 'x.pth')!r})\nexcept Exception as error:\n"
        "    print(type(error).__name__, error)\n"
        "peak = re.search(r'VmHWM:\\s*(\\d+) kB', open('/proc/self/status').read())\n"
        "assert int(peak[1]) < 300_000\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ran.stdout.startswith("UserError")
    assert reason in ran.stdout
    assert ran.stderr == ""


@pytest.fixture(scope="module")
def checkpoint():
    return efficientnet_lite.read_checkpoint(efficientnet_lite.packaged_weights(LITE0))


@pytest.mark.slow
@pytest.mark.parametrize(
    "change, message",
    [
        ({"_blocks.3._bn1.running_var": None}, r"no block3_bn1\.running_var"),
        ({"_conv_head.weight": None}, r"no conv_head\.weight"),
        ({"_blocks.16._bn0.bias": np.zeros(3)}, r"it also has block16_bn0\.bias"),
        ({"_blocks.2._bn1.bias": np.zeros(3, np.float32)}, r"block2_depthwise_conv has another shape"),
        ({"_conv_stem.weight": np.zeros((32, 1, 3, 3), np.float32)}, r"conv_stem has another shape"),
    ],
)
def test_checkpoint_must_fit_exactly(checkpoint, monkeypatch, change, message):
    changed = {name: array for name, array in (checkpoint | change).items() if array is not None}
    monkeypatch.setattr(efficientnet_lite, "read_checkpoint", lambda path: changed)
    with pytest.raises(UserError, match=f"other.pth: not the weights of efficientnet_lite0: {message}"):
        efficientnet_lite.build(LITE0, weights="other.pth")


def test_stem_is_the_checkpoints_convolution_and_batch_norm(checkpoint):
    """One output pixel from the published definition: same padding of TensorFlow, batch norm, ReLU6."""
    model = efficientnet_lite.build(LITE0)
    model.blocks = model.blocks[:1]  # the stem alone
    image = np.random.default_rng(0).normal(size=(32, 32, 3)).astype(np.float32)
    patch = np.zeros((3, 3, 3), np.float32)  # the last output pixel: stride 2 over 32 pixels pads below and right only
    patch[:2, :2] = image[30:, 30:]
    sums = np.einsum("yxi,oiyx->o", patch, checkpoint["_conv_stem.weight"])
    mean, variance = checkpoint["_bn0.running_mean"], checkpoint["_bn0.running_var"]
    normal = (sums - mean) / np.sqrt(variance + 1e-3) * checkpoint["_bn0.weight"] + checkpoint["_bn0.bias"]
    np.testing.assert_allclose(np.asarray(model(image[None]))[0, 15, 15], np.clip(normal, 0, 6), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name, size", [(LITE0, 224), (LITE0, 256), ("efficientnet_lite1", 240)])
def test_photograph_of_an_officer_shows_a_military_uniform(name, size):
    """Channel order, input range and class order are right: RGB wins over BGR, and both over another range."""
    model = efficientnet_lite.build(name, include_top=True)
    picture = geometry.fit_whole(np.asarray(Image.open(GRACE_HOPPER)), size).astype(np.float32)
    batch = np.stack([picture, picture[..., ::-1]])
    inputs = np.concatenate([efficientnet_lite.preprocess(batch), picture[None] / 255])
    logits = np.asarray(model(inputs))  # [3, 1000]
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    rgb, bgr, other_range = (odds / odds.sum(-1, keepdims=True))[:, MILITARY_UNIFORM]
    assert logits[0].argmax() == MILITARY_UNIFORM
    assert rgb > 0.4
    assert rgb > bgr + 0.05
    assert rgb > other_range + 0.05


COCO = Path(__file__).resolve().parents[3] / "shared/data/COCO/train2017"
CLASSES = {  # photographs that one thing fills, and the ImageNet classes of that thing
    "000000466137": {850},  # teddy bear
    "000000488571": {963},  # pizza
    "000000121647": {963},  # pizza
    "000000054718": {101, 385, 386},  # tusker, Indian and African elephant
    "000000069468": {760},  # refrigerator
    "000000187334": {348, 349},  # ram, bighorn
    "000000281789": {340},  # zebra
}
UNSURE = {"000000488571", "000000069468"}  # a whisk lies on the pizza, and a dog looks into the refrigerator


@pytest.mark.slow
@pytest.mark.skipif(not COCO.is_dir(), reason="no photographs of COCO in ../shared")
@pytest.mark.parametrize("name, unsure", [(LITE0, set()), *((f"efficientnet_lite{n}", UNSURE) for n in (1, 2))])
def test_photographs_show_what_fills_them(name, unsure):
    model = efficientnet_lite.build(name, include_top=True)
    pictures = [geometry.fit_whole(np.asarray(Image.open(COCO / f"{image}.jpg")), 256) for image in CLASSES]
    logits = np.asarray(model(efficientnet_lite.preprocess(np.stack(pictures).astype(np.float32))))  # [7, 1000]
    wrong = {image for image, best in zip(CLASSES, logits.argmax(-1), strict=True) if best not in CLASSES[image]}
    assert wrong <= unsure


def test_activations_of_the_last_grid_stay_what_they_were():
    y, x = np.mgrid[:256, :256]
    picture = np.stack([x, y, (x // 32 + y // 32) % 2 * 255], axis=-1).astype(np.float32)  # slopes and a chessboard
    model = efficientnet_lite.build(LITE0)
    grid = np.asarray(model(efficientnet_lite.preprocess(picture[None])))[0]  # [8, 8, 1280]
    strongest = [113, 897, 930, 468]
    assert np.argsort(-grid.mean(axis=(0, 1)))[:4].tolist() == strongest
    np.testing.assert_allclose(grid[2, 5, strongest], [2.70197, 1.83384, 1.49810, 2.92449], atol=1e-3)
    np.testing.assert_allclose(grid[7, 0, strongest], [5.06357, 2.75507, 2.34525, 2.34367], atol=1e-3)
    assert grid.mean() == pytest.approx(0.0526616, abs=1e-5)
