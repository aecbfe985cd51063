"""Data sets in the layouts that docs/data.md draws; each is a tiny one, made on the spot."""

import dataclasses
import json
from pathlib import Path

import pytest

import cfg
from datasets import annotations
from datasets.annotations import Medium
from system.errors import UserError
from tests.datasets.layouts import (
    CAPTIONS,
    FOLDER,
    KARPATHY_JSON,
    SPLITS,
    SPLITS_JSON,
    TEST,
    TEST_JSON,
    TOKEN_FILE,
    TOKENS,
    TRAIN_CAPTIONS,
    TRAIN_VAL_JSON,
    VAL_CAPTIONS,
    coco,
    images,
    karpathy,
    lay_out,
)

FLICKR8K_DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "Flickr8k"


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    """Everything is started in an empty folder."""
    monkeypatch.chdir(tmp_path)


def msr_vtt_media(train_val="TrainValVideo", test="TestVideo"):
    folder = Path("DATA/MSR_VTT")
    return [
        Medium("video0", folder / train_val / "video0.mp4", "train", ("A dog.",)),
        Medium("video1", folder / train_val / "video1.mp4", "validate", ("two dogs", "a cat")),
        Medium("v2", folder / test / "v2.mp4", "test", ("a bird",)),
    ]


def test_msr_vtt():
    media = annotations.read_media(lay_out("MSR-VTT"))
    assert list(media.values()) == msr_vtt_media()
    assert list(media) == ["video0", "video1", "v2"]


def test_msr_vtt_with_all_videos_in_one_folder():
    media = annotations.read_media(lay_out("MSR-VTT", {"TrainValVideo": None, "TestVideo": None, "videos": FOLDER}))
    assert list(media.values()) == msr_vtt_media("videos", "videos")


def test_a_video_as_a_folder_of_its_frames():
    """Where there is a file as well, the file counts: it knows its frame rate."""
    config = lay_out(
        "MSR-VTT", {"TestVideo/v2": FOLDER, "TrainValVideo/video0": FOLDER, "TrainValVideo/video0.mp4": ""}
    )
    paths = [medium.path.name for medium in annotations.read_media(config).values()]
    assert paths == ["video0.mp4", "video1.mp4", "v2"]


def test_msr_vtt_without_the_test_set():
    media = annotations.read_media(lay_out("MSR-VTT", {TEST_JSON: None, "TestVideo": None}))
    assert list(media.values()) == msr_vtt_media()[:2]
    assert annotations.split_media(media, "test") == []


def test_msr_vtt_without_the_test_videos():
    assert list(annotations.read_media(lay_out("MSR-VTT", {"TestVideo": None})).values()) == msr_vtt_media()


def test_demo_has_the_layout_of_msr_vtt():
    lay_out("MSR-VTT")
    config = dataclasses.replace(cfg.DATASETS["Demo"], data_dir="DATA/MSR_VTT")
    assert list(annotations.read_media(config).values()) == msr_vtt_media()


@pytest.mark.parametrize("layout", ["Flickr8k", "Flickr30k", "Flickr30k, lists"])
def test_flickr(layout):
    config = lay_out(layout)
    media = annotations.read_media(config)
    folder = Path(config.data_dir) / ("Flicker8k_Dataset" if layout == "Flickr8k" else "flickr30k-images")
    assert media == {i: Medium(i, folder / f"{i}.jpg", SPLITS[i], CAPTIONS[i]) for i in SPLITS}


COCO_CAPTIONS = {"a.b": ("A dog .", "one dog,"), "c d": ("Two dogs",), "e": ("three",)}  # each in one line


def test_coco():
    media = annotations.read_media(lay_out("COCO"))
    folders = {"train": "train2017", "validate": "val2017", "test": "test2017"}
    expected = [Medium(i, Path(f"DATA/COCO/{folders[s]}/{i}.jpg"), s, COCO_CAPTIONS[i]) for i, s in SPLITS.items()]
    assert media == {one.id: one for one in expected}


def test_coco_of_one_split():
    config = lay_out("COCO", dict.fromkeys((VAL_CAPTIONS, "annotations/captions_test2017.json")))
    assert [(one.id, one.split) for one in annotations.read_media(config).values()] == [("a.b", "train")]


def test_coco_with_the_splits_of_karpathy():
    media = annotations.read_media(lay_out("COCO, Karpathy"))
    folders = {"a.b": "train2014", "c d": "val2014", "e": "val2014", "f": "val2014"}
    splits, captions = SPLITS | {"f": "train"}, COCO_CAPTIONS | {"f": ("four",)}
    expected = [Medium(i, Path(f"DATA/COCO/{folders[i]}/{i}.jpg"), splits[i], captions[i]) for i in splits]
    assert media == {one.id: one for one in expected}


def test_all_of_pascal1k_is_to_train_on():
    media = annotations.read_media(lay_out("PASCAL1k"))
    captions = CAPTIONS | {"unused": ("never",)}
    assert media == {i: Medium(i, Path(f"DATA/PASCAL1k/images/{i}.jpg"), "train", captions[i]) for i in captions}


def test_more_sources_add_what_they_have_to_train_on():
    for layout in ("Flickr8k", "COCO", "PASCAL1k"):
        lay_out(layout)
    own = annotations.read_media(cfg.DATASETS["Flickr8k"])
    media = annotations.read_media(cfg.override(cfg.DATASETS["Flickr8k"], ["more_sources=COCO,PASCAL1k"]))
    added = ["COCO/a.b", *(f"PASCAL1k/{i}" for i in ("a.b", "c d", "unused", "e"))]
    assert list(media) == [*own, *added]
    assert media["a.b"] == own["a.b"]
    assert media["COCO/a.b"] == Medium("COCO/a.b", Path("DATA/COCO/train2017/a.b.jpg"), "train", COCO_CAPTIONS["a.b"])
    assert {media[one].split for one in added} == {"train"}


def test_a_source_that_adds_nothing_or_is_not_there_is_told():
    lay_out("Flickr8k")
    config = cfg.override(cfg.DATASETS["Flickr8k"], ["more_sources=COCO"])
    with pytest.raises(UserError, match=r"^DATA/COCO is missing: put"):
        annotations.read_media(config)
    lay_out("COCO", {TRAIN_CAPTIONS: None})
    with pytest.raises(UserError, match=r"^DATA/COCO has no train split, so COCO has nothing to add$"):
        annotations.read_media(config)


def test_photographs_that_flickr8k_is_tested_on_are_not_trained_on_as_those_of_flickr30k():
    names = {"train": "1_a.jpg", "dev": "2_b.jpg", "test": "3_c.jpg"}
    lists = {f"Flickr_8k.{split}Images.txt": name for split, name in names.items()}
    lay_out("Flickr8k", lists | {TOKEN_FILE: "".join(f"{name}#0\tdog\n" for name in names.values())})
    tokens = "".join(f"{k}.jpg#0\tdog\n" for k in range(1, 6))
    splits = images(*((f"{k}.jpg", "train") for k in range(1, 5)), ("5.jpg", "test"))
    lay_out("Flickr30k", {"results_20130124.token": tokens, SPLITS_JSON: splits})
    for first, second, added in (("Flickr8k", "Flickr30k", "1 4"), ("Flickr30k", "Flickr8k", "1_a")):
        media = annotations.read_media(cfg.override(cfg.DATASETS[first], [f"more_sources={second}"]))
        assert [i for i in media if "/" in i] == [f"{second}/{i}" for i in added.split()]


@pytest.mark.skipif(not FLICKR8K_DATA.exists(), reason=f"{FLICKR8K_DATA} is not there")
def test_the_real_flickr8k():
    media = annotations.read_media(dataclasses.replace(cfg.DATASETS["Flickr8k"], data_dir=str(FLICKR8K_DATA)))
    sizes = [len(annotations.split_media(media, split)) for split in annotations.SPLITS]
    assert sizes == [6000, 1000, 1000]
    assert {len(medium.captions) for medium in media.values()} == {5}
    assert all(caption.strip() for medium in media.values() for caption in medium.captions)
    assert all(medium.path.is_file() for medium in media.values())


def test_files_written_on_windows_are_read_as_well():
    text = "\ufeff" + TOKENS.replace("\n", "\r\n")
    config = lay_out("Flickr8k", {TOKEN_FILE: text.encode(), "Flickr_8k.trainImages.txt": b"a.b.jpg\r\n"})
    assert annotations.read_media(config)["a.b"].captions == CAPTIONS["a.b"]


def test_splits_keep_the_order_of_the_annotations():
    tokens = "".join(f"{n}.jpg#0\tdog\n" for n in (1, 2, 3))
    splits = images(*((f"{n}.jpg", "train") for n in (3, 1, 2)))
    changes = {"results_20130124.token": tokens, SPLITS_JSON: splits}
    media = annotations.read_media(lay_out("Flickr30k", changes))
    assert [medium.id for medium in annotations.split_media(media, "train")] == ["3", "1", "2"]
    assert annotations.split_media(media, "validate") == []


def video(video_id, split):
    return json.dumps(TEST | {"videos": [{"video_id": video_id, "split": split}]})


@pytest.mark.parametrize(
    "layout, name, text, message",
    [
        # Files and folders that are not there, or cannot be read
        ("MSR-VTT", TRAIN_VAL_JSON, None, "is missing: expected MSR-VTT's list of videos"),
        ("MSR-VTT", "TrainValVideo", None, "MSR_VTT has neither TrainValVideo/ nor videos/: expected the .mp4 files"),
        ("Flickr8k", TOKEN_FILE, None, "is missing: expected captions, 'name.jpg#k<TAB>caption' a line"),
        ("Flickr8k", "Flickr_8k.devImages.txt", None, "is missing: expected the image names of the validate split"),
        ("Flickr8k", "Flicker8k_Dataset", None, "is missing: expected the folder of images"),
        ("Flickr30k", "results_20130124.token", None, "is missing: expected captions"),
        ("Flickr30k", "flickr30k-images", None, "is missing: expected the folder of images"),
        ("Flickr30k", SPLITS_JSON, None, "no splits: expected NeuralTalk's dataset_flickr30k.json, or imgs_"),
        ("Flickr30k, lists", "imgs_test.txt", None, "is missing: expected the image names of the test split"),
        ("Flickr8k", TOKEN_FILE, b"\xff\xfea", r"cannot be read as text \('utf-8' .*: expected captions"),
        ("Flickr8k", TOKEN_FILE, FOLDER, "is no file: expected captions"),
        # JSON
        ("MSR-VTT", TEST_JSON, '\n{"videos": [}', r"is not valid JSON \(.*line 2 column 13.*MSR-VTT's"),
        ("MSR-VTT", TEST_JSON, "", "is not valid JSON .*: expected MSR-VTT's list"),
        ("MSR-VTT", TRAIN_VAL_JSON, "[]", "expected videos.. with video_id and split, sentences"),
        ("MSR-VTT", TRAIN_VAL_JSON, json.dumps(TEST | {"videos": [{}]}), "problem with 'video_id'"),
        ("MSR-VTT", TRAIN_VAL_JSON, json.dumps(TEST | {"sentences": [{}]}), "and caption; problem with 'video_id'"),
        ("Flickr30k", SPLITS_JSON, "{'images': []}", "is not valid JSON .*: expected NeuralTalk's splits"),
        ("Flickr30k", SPLITS_JSON, "{}", "filename and split .train, val, test.; problem with 'images'"),
        ("Flickr30k", SPLITS_JSON, '{"images": ["a.jpg"]}', "expected images.. with filename and split"),
        ("Flickr30k", SPLITS_JSON, '{"images": [{"filename": "e.jpg"}]}', "problem with 'split'"),
        # Splits
        ("Flickr30k", SPLITS_JSON, images(("e.jpg", "restval")), "split .train, val, test.; problem with 'restval'"),
        ("MSR-VTT", TEST_JSON, video("v2", "dev"), ": v2 has the split 'dev': expected train, validate, test"),
        # Lines
        ("Flickr8k", TOKEN_FILE, "e.jpg#0\tx\n\nno tab", ", line 3: expected 'name.jpg#k<TAB>caption', found 'no tab'"),
        ("Flickr8k", TOKEN_FILE, "e.jpg\ta b", ", line 1: expected 'name.jpg#k<TAB>caption', found 'e.jpg\\\\ta b'"),
        # Ids that are no file names
        ("Flickr8k", TOKEN_FILE, "e.jpg#0\tx\n../e.jpg#0\tx", ", line 2: '../e.jpg' cannot be a media id"),
        ("Flickr8k", TOKEN_FILE, "#0\tx", ", line 1: '' cannot be a media id"),
        ("Flickr8k", "Flickr_8k.testImages.txt", "\nsub\\e.jpg", r", line 2: 'sub\\e.jpg' cannot be a media id"),
        ("Flickr30k, lists", "imgs_train.txt", "a/b\n", ", line 1: 'a/b' cannot be a media id, it is no plain file"),
        ("Flickr30k", SPLITS_JSON, images(("/e.jpg", "test")), ": '/e.jpg' cannot be a media id"),
        ("MSR-VTT", TEST_JSON, video("..", "test"), ": '..' cannot be a media id"),
        # COCO and PASCAL1k
        ("COCO", VAL_CAPTIONS, "{", "is not valid JSON .*: expected COCO's images and captions"),
        ("COCO", VAL_CAPTIONS, "[]", r"expected images\[\] with id and file_name, annotations\[\] with image_id"),
        ("COCO", VAL_CAPTIONS, '{"images": [{"id": 1}], "annotations": []}', "and caption; problem with 'file_name'"),
        ("COCO", VAL_CAPTIONS, '{"annotations": [{"image_id": 1, "caption": 2}]}', "problem with 'int' object has no"),
        ("COCO", VAL_CAPTIONS, coco(("../e.jpg", ["x"])), ": '../e.jpg' cannot be a media id"),
        ("COCO, Karpathy", KARPATHY_JSON, "{", "is not valid JSON .*: expected Karpathy's splits and captions"),
        ("COCO, Karpathy", KARPATHY_JSON, "{}", r"expected images\[\] with filepath, .* problem with 'images'"),
        ("COCO, Karpathy", KARPATHY_JSON, karpathy(("x", "a.jpg", "dev", [])), "restval.* problem with 'dev'"),
        ("COCO, Karpathy", KARPATHY_JSON, karpathy(("..", "a.jpg", "val", ["x"])), ": '..' cannot be a media id"),
        ("COCO, Karpathy", "val2014", None, "is missing: expected the folder of images"),
        ("PASCAL1k", "captions.token", None, "is missing: expected captions, 'name.jpg#k<TAB>caption' a line"),
        ("PASCAL1k", "captions.token", "e.jpg#0 x", ", line 1: expected 'name.jpg#k<TAB>caption', found 'e.jpg#0 x'"),
        ("PASCAL1k", "images", None, "is missing: expected the folder of images"),
    ],
)
def test_a_wrong_layout_is_told_by_its_file(layout, name, text, message):
    config = lay_out(layout, {name: text})
    with pytest.raises(UserError, match=message) as error:
        annotations.read_media(config)
    whole_folder = "neither" in message or "no splits" in message
    source = config.data_dir if whole_folder else str(Path(config.data_dir) / name)
    assert str(error.value).startswith(source)
    assert "\n" not in str(error.value)


def test_media_without_captions_are_media():
    """As the test set of a challenge was given out, or an image that nobody described."""
    config = lay_out("Flickr8k", {"Flickr_8k.trainImages.txt": "a.b.jpg\nx.jpg\n"})
    media = annotations.read_media(config)
    assert (media["x"].split, media["x"].captions) == ("train", ())
    train = annotations.split_media(media, "train")
    assert annotations.captioned(train) == [media["a.b"]]
    with pytest.raises(UserError, match="none of the 1 media of the train split has a caption, such as x: it can"):
        annotations.captioned([media["x"]])
    config = lay_out("MSR-VTT", {TEST_JSON: json.dumps({"videos": TEST["videos"]})})
    assert annotations.read_media(config)["v2"].captions == ()
    config = lay_out("COCO", {VAL_CAPTIONS: coco(("c.jpg", []))})
    assert annotations.read_media(config)["c"].captions == ()


def test_captions_of_other_images_are_told():
    config = lay_out("Flickr8k", {TOKEN_FILE: "other.jpg#0\ta dog\n"})
    message = "^no image of the splits has a caption in DATA/Flickr8k/Flickr8k.token.txt; the first one is 'a.b.jpg'$"
    with pytest.raises(UserError, match=message):
        annotations.read_media(config)


def test_splits_as_mirrors_call_them():
    config = lay_out("MSR-VTT", {TEST_JSON: video("v7", "val")})
    assert annotations.read_media(config)["v7"].split == "validate"


@pytest.mark.parametrize("media_id", ["a\0b", "x" * 201, "é" * 101, "a/b", ".."])
def test_ids_that_no_file_can_have(media_id):
    config = lay_out("MSR-VTT", {TEST_JSON: video(media_id, "test")})
    with pytest.raises(UserError, match="cannot be a media id, it is no plain file name of at most 200 bytes") as error:
        annotations.read_media(config)
    assert len(str(error.value)) < 250
    Path(config.data_dir, TEST_JSON).write_text(video("é" * 100, "test"))
    assert "é" * 100 in annotations.read_media(config)


def test_images_whose_names_differ_in_the_ending_only_are_told():
    config = lay_out(
        "Flickr8k", {"Flickr8k.token.txt": TOKENS + "e.png#0\ta tree\n", "Flickr_8k.devImages.txt": "e.png\n"}
    )
    folder = "DATA/Flickr8k/Flicker8k_Dataset"
    with pytest.raises(
        UserError, match=rf"^'{folder}/e\.png' and '{folder}/e\.jpg': an image's id is its name without"
    ):
        annotations.read_media(config)
    config = lay_out("COCO", {VAL_CAPTIONS: coco(("a.b.jpg", ["x"]))})
    with pytest.raises(
        UserError, match=r"^'DATA/COCO/train2017/a\.b\.jpg' and 'DATA/COCO/val2017/a\.b\.jpg': an image"
    ):
        annotations.read_media(config)


def test_coco_without_images():
    config = lay_out("COCO", {})
    for name in ("train2017", "val2017", "test2017"):
        Path(config.data_dir, name).rmdir()
    with pytest.raises(
        UserError, match=r"^DATA/COCO has no annotations/captions_<part>.json with its images in <part>/"
    ):
        annotations.read_media(config)


def test_two_years_of_coco_are_not_mixed():
    config = lay_out("COCO", {"val2014": FOLDER})
    message = "^DATA/COCO has test2017, train2017, val2014, val2017: the years divide the same photographs differently"
    with pytest.raises(UserError, match=message):
        annotations.read_media(config)


@pytest.mark.parametrize("dataset", cfg.DATASETS)
def test_a_data_set_that_is_not_there_is_told(dataset):
    assert dataset in annotations.READERS
    folder = cfg.DATASETS[dataset].data_dir
    with pytest.raises(UserError, match=rf"^{folder} is missing: put \(or link\) {dataset} there"):
        annotations.read_media(cfg.DATASETS[dataset])


def test_find_medium():
    media = {i: Medium(i, Path(i), "train", ("x",)) for i in ("video1", "video12", "a", "a.b")}
    assert annotations.find_medium(media, "video12").id == "video12"
    assert annotations.find_medium(media, "video1.mp4").id == "video1"
    assert annotations.find_medium(media, "a.b").id == "a.b"
    assert annotations.find_medium(media, "a.b.jpg").id == "a.b"
    with pytest.raises(UserError, match=r"no media id 'vdeo12' among the 4 of .*; similar: video12, video1$"):
        annotations.find_medium(media, "vdeo12")
    with pytest.raises(UserError, match=r"no media id '#' .*; similar: video1, video12, a$"):
        annotations.find_medium(media, "#")
