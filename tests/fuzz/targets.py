"""What is fuzzed: every kind of thing that the program reads, by the functions that read it.

A target writes sound files into a folder, which are then changed one at a time, and reads them; or it draws odd values
itself. Reading either comes to an end, or raises what a user is meant to see: anything else is a failure.
"""

import contextlib
import dataclasses
import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

import cfg
import data_loader
from datasets import annotations, davis, grounding, store
from datasets.demo import clips
from explain import fonts, overlay, query
from system.errors import UserError
from tests import make_media, tiny_data
from tests.fuzz import mutations
from vision import cnn, efficientnet_lite, media


@dataclasses.dataclass(frozen=True)
class Target:
    """prepare(folder) writes sound files there and names those to change; read(folder, rng) reads what is there."""

    name: str
    prepare: Callable
    read: Callable


# Pictures and clips

PICTURES = {
    "png": {},
    "palette.png": {},
    "16.png": {},
    "jpg": {},
    "gif": {},
    "webp": {},
    "tif": {},
    "float.tif": {},
    "bmp": {},
    "avif": {},
    "heic": {"format": "HEIF"},
    "jp2": {},
    "qoi": {},
    "dds": {},
    "sgi": {},
    "pcx": {},
    "tga": {},
    "ppm": {},
    "moving.gif": {},
    "moving.png": {},
    "moving.webp": {},
}
CLIPS = {
    "mp4": (),
    "hevc.mp4": ("-c:v", "libx265", "-x265-params", "log-level=none"),
    "mkv": (),
    "webm": ("-c:v", "libvpx-vp9"),
    "avi": ("-c:v", "mjpeg"),
    "mpg": ("-c:v", "mpeg1video"),
    "ts": ("-c:v", "mpeg2video"),
    "flv": ("-c:v", "flv"),
    "ogv": ("-c:v", "libtheora"),
    "mov": ("-c:v", "prores"),
    "h264": ("-c:v", "libx264", "-pix_fmt", "yuv420p"),
    "y4m": ("-c:v", "rawvideo", "-pix_fmt", "yuv420p"),
}


def _write_picture(folder, name, options):
    picture = Image.fromarray(tiny_data.picture("red", 0))
    if name.startswith("palette"):
        picture = picture.convert("P")
    elif name.startswith("16"):
        picture = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    elif name.startswith("float"):
        picture = picture.convert("F")
    if name.startswith("moving"):
        options = {"save_all": True, "append_images": [Image.fromarray(tiny_data.picture("blue", 1))]}
    picture.save(folder / f"x.{name}", **options)
    return [f"x.{name}"]


def _write_jpeg_xl(folder):
    _write_picture(folder, "png", {})
    make_media.run_ffmpeg("-i", folder / "x.png", "-c:v", "libjxl", folder / "x.jxl")
    (folder / "x.png").unlink()
    return ["x.jxl"]


def _write_tiled_tiff(folder):
    square = Image.fromarray(tiny_data.picture("red", 0)[:48, :48])
    make_media.write_tiled_tiff(folder / "x.tif", square)
    return ["x.tif"]


def _write_clip(folder, name, options):
    frames = np.stack([tiny_data.picture("red", k) for k in range(6)])
    make_media.write_video(folder / f"x.{name}", frames, *options)
    return [f"x.{name}"]


def _read_medium(folder, rng):
    """As the stages do: its kind, then all of it, in the sizes of a CNN and as it is."""
    (path,) = folder.iterdir()
    if media.kind(path) == "image":
        media.read_image(path)
        return
    media.sample_frames(path, 4, (32, 32), whole=bool(rng.integers(2)))
    info = media.probe(path)
    for batch in media.read_frames(path, batch_size=2):
        assert batch.dtype == np.uint8
        assert info.n_frames > 0


def _write_frames(folder):
    tiny_data.write_frames(folder, [tiny_data.picture("red", k) for k in range(3)])
    return [f"{k:05d}.png" for k in range(3)]


def _read_frames(folder, rng):
    assert media.kind(folder) == "video"
    media.sample_frames(folder, 4, (32, 32))


# Data sets

DATA_SETS = {
    "MSR-VTT": (["train_val_videodatainfo.json", "test_videodatainfo.json"], None),
    "Flickr8k": (["Flickr8k.token.txt", "Flickr_8k.trainImages.txt"], tiny_data.write_flickr8k),
    "Flickr30k": (["results_20130124.token", "imgs_val.txt"], tiny_data.write_flickr30k),
    "COCO": (["annotations/captions_train2017.json"], tiny_data.write_coco_captions),
    "PASCAL1k": (["captions.token"], tiny_data.write_pascal1k),
}


def _write_msr_vtt(folder):
    for part, videos_folder in (("train_val", "TrainValVideo"), ("test", "TestVideo")):
        (folder / videos_folder).mkdir()
        own = [sample for sample in tiny_data.samples() if (sample[2] == "test") == (part == "test")]
        videos = [{"video_id": f"video{number}", "split": split} for number, _, split, _ in own]
        sentences = [{"video_id": f"video{number}", "caption": one} for number, *_, both in own for one in both]
        text = json.dumps({"videos": videos, "sentences": sentences})
        (folder / f"{part}_videodatainfo.json").write_text(text)


def _write_data_set(folder, dataset):
    names, write = DATA_SETS[dataset]
    (write or _write_msr_vtt)(folder)
    return names


def _read_data_set(folder, rng, dataset):
    config = dataclasses.replace(cfg.DATASETS[dataset], data_dir=str(folder))
    found = annotations.read_media(config)
    for split in annotations.SPLITS:
        own = annotations.split_media(found, split)
        vocabulary = data_loader.Vocabulary.of_captions([one for medium in own for one in medium.captions], 1)
        assert len(vocabulary) > 0
    for medium in found.values():
        assert medium.path.resolve().is_relative_to(folder.resolve())
    if found:
        annotations.find_medium(found, next(iter(found)))
        with contextlib.suppress(UserError):
            annotations.find_medium(found, mutations.pick(rng, mutations.ODD_TEXTS))


def _write_splits(folder, karpathy):
    if not karpathy:
        tiny_data.write_images(folder / "flickr30k-images")
        tiny_data.write_token_file(folder / "results_20130124.token")
    images = []
    for number, _, split, captions in tiny_data.samples():
        image = {"filename": f"im {number}.x.jpg", "split": {"validate": "val"}.get(split, split)}
        if karpathy:
            image |= {"filepath": "val2014", "sentences": [{"raw": caption} for caption in captions]}
        images.append(image)
    if karpathy:
        (folder / "val2014").mkdir()
    name = "dataset_coco.json" if karpathy else "dataset_flickr30k.json"
    (folder / name).write_text(json.dumps({"images": images}))
    return [name]


def _write_coco(folder):
    from pycocotools import mask

    tiny_data.write_coco(folder)
    path = folder / "annotations/instances_val.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["segmentation"] = {"size": [48, 64], "counts": [100, 1000, 48 * 64 - 1100]}
    left = np.zeros((48, 64), np.uint8, order="F")
    left[:, :32] = 1
    content["annotations"][1]["segmentation"] = {"size": [48, 64], "counts": mask.encode(left)["counts"].decode()}
    path.write_text(json.dumps(content))
    return ["annotations/instances_val.json", "annotations/captions_val.json"]


def _read_regions(captioned, folder):
    """The pictures lie in the folder, and every region can be asked."""
    for one in captioned:
        assert one.image.resolve().is_relative_to(folder.resolve())
        for phrase in one.phrases:
            assert phrase.region.distance(np.array([0.5]), np.array([0.5])).shape == (1,)


def _read_coco(folder, rng):
    _read_regions(grounding.read_coco(folder), folder)


def _write_entities(folder):
    tiny_data.write_entities(folder)
    return ["Sentences/im 9.x.txt", "Annotations/im 9.x.xml"]


def _read_entities(folder, rng):
    medium = annotations.Medium("im 9.x", folder / "im 9.x.jpg", "test", ("a red square",))
    _read_regions(grounding.read_entities(folder, [medium]), folder)


def _write_davis(folder):
    tiny_data.write_davis(folder)
    return ["sentences.tsv", "Annotations/one/00001.png"]


def _read_davis(folder, rng):
    for clip in davis.read(folder):
        assert clip.path.resolve().is_relative_to(folder.resolve())
        clip.read_masks()


def _write_truth(folder):
    (folder / "masks").mkdir()
    masks = np.zeros((2, 3, 8, 8), bool)
    masks[0, :, :4] = masks[1, :, 4:] = True
    things = [clips.NamedThing("car", "red", "spins", 0, 2), clips.NamedThing("owl", "striped", "burns", 1, 3)]
    clips._save_truth(folder / "masks/video0.npz", clips.SceneTruth(masks, things))
    return ["masks/video0.npz"]


def _read_truth(folder, rng):
    truth = clips.load_truth(folder, "video0")
    assert truth.masks.size <= 8 * clips.MOST_OF_A_TRUTH


# Descriptors, checkpoints, weights


def _stored(folder):
    config = dataclasses.replace(cfg.DATASETS["MSR-VTT"], descriptors_root=str(folder), n_sampled_frames=3)
    return store.Store(config)


def _write_descriptors(folder):
    stored = _stored(folder)
    stored.folder.mkdir(parents=True)
    for k in range(2):
        np.save(stored.path(f"v{k}"), np.ones((3, 4), np.float16) * k)
    stored.noted.note("v2", "no video in it")
    (stored.folder / store.CNN_FILE).write_text('{"cnn": "inception_v3", "weights_id": "0123"}')
    return [str(path.relative_to(folder)) for path in sorted(stored.folder.iterdir())]


def _read_descriptors(folder, rng):
    stored, found = _stored(folder), [annotations.Medium(f"v{k}", Path(f"v{k}"), "train", ("a",)) for k in range(3)]
    stored.cnn_weights_id()
    for medium in stored.usable(found):
        array = stored.load(medium.id)
        assert array.ndim == 2
        assert array.dtype == np.float16


CAPTIONER = dataclasses.replace(
    cfg.DATASETS["MSR-VTT"], dim_hidden=8, dim_word_emb=4, n_lstm_step=5, n_sampled_frames=3, ema_decay=0.9
)


def _write_checkpoint(folder):
    from captioner import checkpoint, training_step

    vocabulary = data_loader.Vocabulary([".", "a", "dog"], [5, 4, 2], {"puppy": ["dog"]})
    model = checkpoint.build_model(CAPTIONER, vocabulary, dim_image=6)
    optimizer = training_step.make_optimizer(CAPTIONER, 10)
    optimizer.build(model.trainable_variables)
    state = {"validation_loss": 2.0, "losses_since_save": [1.5], "n_samples": 3, "cnn_weights_id": "0123"}
    weights = model.reference_weights()
    checkpoint.save(folder, 5, CAPTIONER, vocabulary, model, optimizer, state, weights)
    (folder / "loss.tsv").write_text("checkpoint\ttrain\tvalidation\n5\t2.0\t2.0\n")
    return ["loss.tsv", *(f"model-5/{path.name}" for path in sorted((folder / "model-5").iterdir()))]


def _read_checkpoint(folder, rng):
    from captioner import checkpoint, training, training_step

    training.LossTable(folder / "loss.tsv", up_to=5)
    saved = checkpoint.load(checkpoint.choose(folder))
    optimizer = training_step.make_optimizer(saved.config, 10)
    optimizer.build(saved.model.trainable_variables)
    checkpoint.load_optimizer(saved.folder, optimizer, saved.model)
    saved.vocabulary.stand_in("puppy")
    if saved.model.dim_image == 6:
        (ids,) = saved.model.generate(np.ones((1, 3, 6), np.float32))
        saved.vocabulary.decode(ids)


def _write_pytorch(folder):
    shutil.copyfile(efficientnet_lite.packaged_weights("efficientnet_lite0"), folder / "x.pth")
    return ["x.pth"]


def _read_pytorch(folder, rng):
    efficientnet_lite.read_checkpoint(folder / "x.pth")


def _write_h5(folder):
    import h5py

    with h5py.File(folder / "x.h5", "w") as file:
        file.create_dataset("layer/kernel", data=np.ones((3, 3), np.float32))
        file.create_dataset("layer/bias", data=np.ones(3, np.float32), compression="gzip")
    return ["x.h5"]


def _read_h5(folder, rng):
    cnn.check_h5(folder / "x.h5")


# Settings and sentences


def _nothing(folder):
    return []


def _read_settings(folder, rng):
    odd = [str(value) for value in mutations.ODD_VALUES if value not in (mutations.DEEP, mutations.LONG)]
    key = mutations.pick(rng, (*cfg.SETTINGS, "", "none", "__class__"))
    value = mutations.pick(rng, (*odd, "9" * 5000, "1e-300", "1_000", " 3 ", "0x10", "4,1", "COCO,COCO", "inf"))
    config = cfg.DATASETS[mutations.pick(rng, sorted(cfg.DATASETS))]
    cfg.override(config, [f"{key}={value}" if rng.random() < 0.9 else key])


def _write_config(folder):
    (folder / "config.json").write_text(json.dumps(dataclasses.asdict(CAPTIONER)))
    return ["config.json"]


def _read_config(folder, rng):
    from captioner import checkpoint

    checkpoint.load_config(folder)


WORDS = data_loader.Vocabulary([".", "a", "dog", "man", "'s", "caf\u00e9"], related={"puppy": ["dog"]})


def _read_sentence(folder, rng):
    pieces = (*mutations.ODD_TEXTS, "A dog", "man's", "dog!", "cafe\u0301", "puppy", "\u2019s", "9" * 50, "word " * 300)
    sentence = " ".join(mutations.pick(rng, pieces) for _ in range(rng.integers(1, 6)))
    asked = query.parse_sentence(sentence, WORDS, 10, mutations.pick(rng, query.UNKNOWN))
    maps = np.zeros((len(asked.words), 2, 2))
    tiles = overlay.Layout(asked.words, 8, 8, title=asked.title, skipped=asked.skipped)
    assert tiles.draw(np.zeros((8, 8, 3), np.uint8), maps).shape[1] < 2000
    fonts.missing(asked.title)


def _partial(function, *arguments):
    return functools.partial(function, **dict(zip(("name", "options"), arguments, strict=False)))


TARGETS = (
    *(Target(f"picture {name}", _partial(_write_picture, name, own), _read_medium) for name, own in PICTURES.items()),
    Target("picture jxl", _write_jpeg_xl, _read_medium),
    Target("picture tiled.tif", _write_tiled_tiff, _read_medium),
    *(Target(f"clip {name}", _partial(_write_clip, name, own), _read_medium) for name, own in CLIPS.items()),
    Target("folder of frames", _write_frames, _read_frames),
    *(
        Target(
            f"captions of {name}",
            functools.partial(_write_data_set, dataset=name),
            functools.partial(_read_data_set, dataset=name),
        )
        for name in DATA_SETS
    ),
    Target(
        "splits of Flickr30k",
        functools.partial(_write_splits, karpathy=False),
        functools.partial(_read_data_set, dataset="Flickr30k"),
    ),
    Target(
        "splits of COCO",
        functools.partial(_write_splits, karpathy=True),
        functools.partial(_read_data_set, dataset="COCO"),
    ),
    Target("masks of COCO", _write_coco, _read_coco),
    Target("boxes of Entities", _write_entities, _read_entities),
    Target("clips of DAVIS", _write_davis, _read_davis),
    Target("masks of Demo", _write_truth, _read_truth),
    Target("descriptors", _write_descriptors, _read_descriptors),
    Target("checkpoint", _write_checkpoint, _read_checkpoint),
    Target("weights of PyTorch", _write_pytorch, _read_pytorch),
    Target("weights of Keras", _write_h5, _read_h5),
    Target("settings", _nothing, _read_settings),
    Target("settings of a checkpoint", _write_config, _read_config),
    Target("sentence", _nothing, _read_sentence),
)
