"""Settings: their types and ranges, `--set`, and the way into a checkpoint and back."""

import argparse
import dataclasses
import itertools
import json
from pathlib import Path

import pytest

import cfg
from system.errors import UserError

VIDEOS, IMAGES = cfg.DATASETS["MSR-VTT"], cfg.DATASETS["Flickr30k"]
NUMBERS = [
    field.name for field in dataclasses.fields(cfg.Config) if isinstance(getattr(VIDEOS, field.name), (int, float))
]


def test_the_papers_settings():
    paper = {
        "cnn": "inception_v3",
        "n_sampled_frames": 26,
        "dim_hidden": 1300,
        "dim_word_emb": 300,
        "n_lstm_step": 25,
        "input_keep_prob": 0.5,
        "output_keep_prob": 0.5,
        "forget_bias": 1,
        "cell_clip": None,
        "learning_rate": 5e-4,
        "batch_size": 100,
        "n_epochs": 10,
    }
    for config, own in (
        (VIDEOS, {"media": "video", "save_every_n_epoch": 0.1}),
        (IMAGES, {"media": "image", "save_every_n_epoch": 0.2, "image_geometry": "crop"}),
    ):
        values = dataclasses.asdict(config)
        assert {name: values[name] for name in paper | own} == paper | own


# --set


@pytest.mark.parametrize("dataset", cfg.DATASETS)
def test_every_setting_can_be_written_and_is_read_back_with_its_type(dataset):
    config = cfg.DATASETS[dataset]
    assert config.dataset == dataset
    base = dataclasses.replace(VIDEOS, media=config.media, n_epochs=99, pyramid=config.pyramid)  # what allows them
    for name in set(cfg.SETTINGS) - {"dataset"}:
        value = getattr(config, name)
        read = getattr(cfg.override(base, [f"{name}={value}"]), name)
        assert (read, type(read)) == (value, type(value)), name


@pytest.mark.parametrize(
    "assignment, value",
    [
        ("n_epochs=3", 3),
        ("learning_rate=1e-3", 0.001),
        ("learning_rate=1", 1.0),
        ("save_every_n_epoch=1", 1.0),
        ("cell_clip=10", 10.0),
        ("cell_clip=None", None),
        ("cell_clip=", None),
        ("cnn_input_size=555", 555),
        ("cnn_input_size=none", None),
        ("cnn_weights=a=b.h5", "a=b.h5"),
        ("cnn_weights=None", None),
        ("experiment=None", "None"),  # a folder may have that name
        ("media=image", "image"),
    ],
)
def test_set(assignment, value):
    config = cfg.override(dataclasses.replace(VIDEOS, cell_clip=2.0, cnn_input_size=331, cnn_weights="x"), [assignment])
    read = getattr(config, assignment.partition("=")[0])
    assert (read, type(read)) == (value, type(value))


def test_set_changes_a_copy_and_the_last_one_counts():
    config = cfg.override(VIDEOS, ["seed=1", "batch_size=7", "seed=2"])
    assert config == dataclasses.replace(VIDEOS, seed=2, batch_size=7)
    assert (VIDEOS.seed, VIDEOS.batch_size) == (0, 100)
    assert cfg.override(VIDEOS, []) == cfg.override(VIDEOS, None) == VIDEOS
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 3


@pytest.mark.parametrize(
    "assignment, message",
    [
        ("dim_hiden=8", "--set dim_hiden=8: there is no setting 'dim_hiden'; the settings are .*dim_hidden"),
        ("=8", "there is no setting ''"),
        ("dim_hidden", "--set dim_hidden: write it as key=value"),
        ("dim_hidden=8.5", "--set dim_hidden=8.5: dim_hidden takes int, not '8.5'"),
        ("dim_hidden=None", "dim_hidden takes int, not 'None'"),
        ("seed=", "seed takes int, not ''"),
        ("learning_rate=fast", "learning_rate takes float, not 'fast'"),
        ("cell_clip=no", "cell_clip takes float, not 'no'"),
        ("cnn_input_size=299.0", "cnn_input_size takes int, not '299.0'"),
        ("dataset=Demo", "--set dataset=Demo: the data set is chosen by --dataset"),
    ],
)
def test_set_refuses(assignment, message):
    with pytest.raises(UserError, match=message):
        cfg.override(VIDEOS, [assignment])


def test_set_where_a_checkpoint_has_fixed_the_rest():
    assert cfg.override(VIDEOS, ["batch_size=5"], ("data_dir", "batch_size")).batch_size == 5
    message = "--set seed=1: 'seed' is fixed by the checkpoint; here one can set data_dir, batch_size$"
    with pytest.raises(UserError, match=message):
        cfg.override(VIDEOS, ["seed=1"], ("data_dir", "batch_size"))


# Ranges


@pytest.mark.parametrize(
    "name, good, bad, expected",
    [
        ("n_lstm_step", [2, 1000], [1, 0, 1001, 10**12], "from 2 to 1000"),
        ("n_sampled_frames", [1, 10_000], [0, -1, 10_001, 10**11], "from 1 to 10000"),
        ("dim_hidden", [1, 10_000], [0, -1, 10**9], "from 1 to 10000"),
        ("dim_word_emb", [1, 10_000], [0, -1, 10**9], "from 1 to 10000"),
        ("batch_size", [1, 100_000], [0, -1, 10**23], "from 1 to 100000"),
        ("n_epochs", [1, 100_000], [0, -1, 10**12], "from 1 to 100000"),
        ("max_to_keep", [1, 100_000], [0, -1, 10**12], "from 1 to 100000"),
        ("word_count_threshold", [1, 100_000], [0, -1, 10**12], "from 1 to 100000"),
        ("beam_size", [1, 1000], [0, -1, 1001], "from 1 to 1000"),
        ("length_penalty", [0, 100], [-1, "inf", "nan"], "from 0 to 100"),
        ("cnn_input_size", [1, 2048], [0, -1, 320_000], "None or from 1 to 2048"),
        ("saliency_input_size", [1, 2048], [0, -1, 320_000], "None or from 1 to 2048"),
        ("seed", [0, 2**31 - 1], [-1, 2**31], "from 0 to 2147483647"),
        ("input_keep_prob", [1e-6, 1], [0, 1.01, -0.5], "above 0 and at most 1"),
        ("output_keep_prob", [1e-6, 1], [0, 1.01, -0.5], "above 0 and at most 1"),
        ("save_every_n_epoch", [0.0001, 1], [0, 1.5, 1e-300], "from 0.0001 to 1"),
        ("learning_rate", [1e-9, 10], [0, -1, "inf"], "above 0, and finite"),
        ("forget_bias", [-1, 0], ["inf", "-inf"], "finite"),
        ("cell_clip", [0.1], [0, -1, "inf"], "None or above 0"),
        ("media", ["video", "image"], ["audio", ""], "one of video, image"),
        ("image_geometry", ["crop", "whole"], ["square"], "one of crop, whole"),
        ("descriptor_dtype", ["float16", "float32"], ["float64", "int8"], "one of float16, float32"),
        ("precision", ["float32", "bfloat16"], ["float16"], "one of float32, bfloat16"),
        ("cnn_precision", ["float32", "bfloat16"], ["float16"], "one of float32, bfloat16"),
        ("captions_per_medium", [1, 100], [0, 101], "from 1 to batch_size, 100"),
    ],
)
def test_ranges(name, good, bad, expected):
    for value in good:
        assert getattr(cfg.override(VIDEOS, [f"{name}={value}"]), name) == value
    for value in bad:
        with pytest.raises(UserError, match=f"^setting {name}={value}(.0)?: it must be {expected}"):
            cfg.override(VIDEOS, [f"{name}={value}"])


def test_pyramid():
    config = cfg.override(IMAGES, ["pyramid=4,1", "full_grid_share=0.5"])
    assert (config.pyramid_levels, IMAGES.pyramid_levels) == ((4, 1), ())
    for value in ("0", "4,", "4,x", "-1", "2.5", "65", "9" * 50, "1,1,1,1,1,1,1,1,1"):
        with pytest.raises(
            UserError, match=f"^setting pyramid={value}: it must be None or, for images, at most 8 numbers"
        ):
            cfg.override(IMAGES, [f"pyramid={value}"])
    with pytest.raises(UserError, match=r"^setting pyramid=4,1: it must be None or, for images"):
        cfg.override(VIDEOS, ["pyramid=4,1"])
    with pytest.raises(UserError, match=r"^setting full_grid_share=0\.5: it must be 0 without a pyramid"):
        cfg.override(IMAGES, ["full_grid_share=0.5"])


def test_more_sources():
    config = cfg.override(IMAGES, ["more_sources=COCO,PASCAL1k"])
    assert (config.sources, IMAGES.sources) == (("Flickr30k", "COCO", "PASCAL1k"), ("Flickr30k",))
    for value in ("COCO,COCO", "Flickr30k", "MSVD", "Demo", "COCO, PASCAL1k", ","):
        message = f"^setting more_sources={value}: it must be None or, .* each once, .* Flickr8k, COCO, PASCAL1k$"
        with pytest.raises(UserError, match=message):
            cfg.override(IMAGES, [f"more_sources={value}"])


def test_settings_for_one_of_the_sources():
    config = cfg.override(IMAGES, ["more_sources=COCO", "data_dir=here", "seed=3"])
    own = dataclasses.replace(config, more_sources=None)
    assert config.of("Flickr30k") == own
    assert config.of("COCO") == dataclasses.replace(own, dataset="COCO", data_dir="DATA/COCO")


def test_data_sets_of_photographs_have_the_recipe_of_flickr8k():
    for dataset in ("COCO", "PASCAL1k"):
        own = {"dataset": dataset, "data_dir": f"DATA/{dataset}", "experiment": f"experiments/{dataset}"}
        assert cfg.DATASETS[dataset] == dataclasses.replace(cfg.DATASETS["Flickr8k"], **own)


def test_no_number_may_be_nan():
    assert "forget_bias" in NUMBERS
    for name in (*NUMBERS, "cell_clip"):
        with pytest.raises(UserError, match=name):
            cfg.override(VIDEOS, [f"{name}=nan"])


# Where descriptors go


def test_descriptors_dir():
    assert VIDEOS.descriptors_dir == Path("DATA/descriptors/MSR-VTT/inception_v3-26frames-float16")
    assert IMAGES.descriptors_dir == Path("DATA/descriptors/Flickr30k/inception_v3-crop-float16")
    config = dataclasses.replace(IMAGES, descriptors_root="/else", cnn_input_size=555, descriptor_dtype="float32")
    assert config.descriptors_dir == Path("/else/Flickr30k/inception_v3-crop-555-float32")


def without_what_only_images_have(config):
    return dataclasses.replace(config, flip_probability=0.0, full_grid_share=0.0, pyramid=None)


def test_descriptors_dir_differs_whenever_descriptors_differ():
    cnns, sizes, dtypes = ("inception_v3", "efficientnet_lite0"), (None, 299, 555), ("float16", "float32")
    ways = {"video": ("n_sampled_frames", (8, 26)), "image": ("image_geometry", ("crop", "whole"))}
    configs = [
        dataclasses.replace(config, media=media, cnn=cnn, cnn_input_size=size, descriptor_dtype=dtype, **{name: value})
        for config in map(without_what_only_images_have, cfg.DATASETS.values())
        for media, (name, values) in ways.items()
        for cnn, size, dtype, value in itertools.product(cnns, sizes, dtypes, values)
    ]
    assert len(configs) == len(cfg.DATASETS) * 2 * 24
    assert len({config.descriptors_dir for config in configs}) == len(configs)


def test_descriptors_dir_stays_where_descriptors_are_the_same():
    for assignment in ("dim_hidden=8", "image_geometry=crop", "batch_size=3", "experiment=x", "data_dir=y"):
        assert cfg.override(VIDEOS, [assignment]).descriptors_dir == VIDEOS.descriptors_dir
    assert cfg.override(IMAGES, ["n_sampled_frames=3"]).descriptors_dir == IMAGES.descriptors_dir


# A checkpoint's config.json


@pytest.mark.parametrize("dataset", cfg.DATASETS)
def test_what_a_checkpoint_stores_is_read_back(dataset):
    config = dataclasses.replace(cfg.DATASETS[dataset], cell_clip=1.5, cnn_weights="wéights.h5", learning_rate=1 / 3)
    assert cfg.from_dict(dataclasses.asdict(config), "config.json") == config
    assert cfg.from_dict(json.loads(json.dumps(dataclasses.asdict(config))), "config.json") == config


@pytest.mark.parametrize(
    "change, differ",
    [
        (lambda values: values | {"dropout": 1}, "dropout"),
        (lambda values: {key: values[key] for key in values if key not in ("media", "dataset")}, "dataset, media"),
    ],
)
def test_settings_of_another_version_are_refused(change, differ):
    message = rf"model-5/config.json was written by another version .* \(settings that differ: {differ}\)"
    with pytest.raises(UserError, match=message):
        cfg.from_dict(change(dataclasses.asdict(VIDEOS)), "model-5/config.json")


@pytest.mark.parametrize("values", [None, ["seed"]])
def test_settings_that_are_no_table_are_refused(values):
    with pytest.raises(UserError, match=r"model-5/config\.json holds no table of settings"):
        cfg.from_dict(values, "model-5/config.json")


def test_a_checkpoint_from_before_a_setting_has_its_default():
    values = dataclasses.asdict(cfg.DATASETS["Demo"])
    del values["single_region_noise"]
    expected = dataclasses.replace(cfg.DATASETS["Demo"], single_region_noise=0.0)
    assert cfg.from_dict(values, "config.json") == expected


# The command line


def parse(*arguments, **options):
    parser = argparse.ArgumentParser()
    cfg.add_arguments(parser, **options)
    parser.add_argument("--experiment")
    return parser.parse_args(arguments)


def test_arguments():
    assert cfg.from_arguments(parse("--dataset", "Demo")) == cfg.DATASETS["Demo"]
    args = parse("--dataset", "Flickr8k", "--set", "seed=3", "--experiment", "here", "--set", "dim_hidden=9")
    expected = dataclasses.replace(cfg.DATASETS["Flickr8k"], experiment="here")
    assert cfg.from_arguments(args, settings=False) == expected
    assert cfg.from_arguments(args) == dataclasses.replace(expected, seed=3, dim_hidden=9)


def test_several_data_sets():
    one, three = (parse("--dataset", *names, several=True) for names in (["COCO"], ["Flickr8k", "PASCAL1k", "COCO"]))
    assert cfg.from_arguments(one) == cfg.DATASETS["COCO"]
    expected = dataclasses.replace(cfg.DATASETS["Flickr8k"], more_sources="PASCAL1k,COCO")
    assert cfg.from_arguments(three) == expected
    for names in (["Flickr8k", "Demo"], ["COCO", "COCO"]):
        with pytest.raises(UserError, match=f"^setting more_sources={names[1]}: "):
            cfg.from_arguments(parse("--dataset", *names, several=True))


def test_the_data_set_must_be_one_of_ours(capsys):
    for arguments in ((), ("--dataset", "MSVD")):
        with pytest.raises(SystemExit):
            parse(*arguments)
    assert "invalid choice: 'MSVD'" in capsys.readouterr().err
    assert parse(dataset_required=False).dataset is None


@pytest.mark.parametrize(
    "name, value, expected",
    [
        ("dim_hidden", "abc", "a whole number"),
        ("dim_hidden", True, "a whole number"),
        ("dim_hidden", 8.0, "a whole number"),
        ("seed", None, "a whole number"),
        ("learning_rate", False, "a number"),
        ("learning_rate", [1], "a number"),
        ("cell_clip", "1", "a number or None"),
        ("cnn", 3, "text"),
        ("cnn_weights", {}, "text or None"),
    ],
)
def test_settings_of_another_type_are_refused(name, value, expected):
    values = {**dataclasses.asdict(cfg.DATASETS["Demo"]), name: value}
    with pytest.raises(UserError) as caught:
        cfg.from_dict(values, "config.json")
    assert str(caught.value).startswith(f"config.json is damaged: setting {name}=")
    assert str(caught.value).endswith(f": it must be {expected}")


def test_a_long_value_makes_no_long_line():
    with pytest.raises(UserError) as caught:
        cfg.override(VIDEOS, ["seed=" + "9" * 1_000_000])
    assert len(str(caught.value)) < 300
