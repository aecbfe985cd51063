"""Data sets in the layouts that docs/data.md draws: their files, and how a test writes them, or spoils some."""

import json
from pathlib import Path

import cfg

# Layouts: name -> (data set, its files with their content)

FOLDER = object()
TRAIN_VAL_JSON, TEST_JSON = "train_val_videodatainfo.json", "test_videodatainfo.json"
TOKEN_FILE, SPLITS_JSON = "Flickr8k.token.txt", "dataset_flickr30k.json"

TOKENS = "a.b.jpg#0\tA dog .\n\nc d.jpg#0\t Two\u2028dogs\nunused.jpg#0\tnever\na.b.jpg#1\tone\tdog, \ne.jpg#0\tthree\n"
CAPTIONS = {"a.b": ("A dog .", "one\tdog,"), "c d": ("Two\u2028dogs",), "e": ("three",)}
SPLITS = {"a.b": "train", "c d": "validate", "e": "test"}


def images(*splits):
    """NeuralTalk's JSON for (file name, split) pairs."""
    return json.dumps({"images": [{"filename": name, "split": split} for name, split in splits]})


TRAIN_VAL = {
    "info": {"contributor": "somebody"},
    "videos": [
        {"video_id": "video0", "split": "train", "category": 9},
        {"video_id": "video1", "split": "validate", "category": 3},
    ],
    "sentences": [
        {"sen_id": 0, "video_id": "video1", "caption": "two dogs"},
        {"sen_id": 1, "video_id": "video0", "caption": "A dog."},
        {"sen_id": 2, "video_id": "video1", "caption": "a cat"},
    ],
}
TEST = {"videos": [{"video_id": "v2", "split": "test"}], "sentences": [{"video_id": "v2", "caption": "a bird"}]}
MSR_VTT = {
    TRAIN_VAL_JSON: json.dumps(TRAIN_VAL),
    TEST_JSON: json.dumps(TEST),
    "TrainValVideo": FOLDER,
    "TestVideo": FOLDER,
}
FLICKR8K = {
    TOKEN_FILE: TOKENS,
    "Flickr_8k.trainImages.txt": "a.b.jpg\n",
    "Flickr_8k.devImages.txt": "\nc d.jpg\n",
    "Flickr_8k.testImages.txt": "e.jpg",
    "Flicker8k_Dataset": FOLDER,
}
FLICKR30K = {
    "results_20130124.token": TOKENS,
    SPLITS_JSON: images(("c d.jpg", "val"), ("a.b.jpg", "train"), ("e.jpg", "test")),
    "flickr30k-images": FOLDER,
}
FLICKR30K_LISTS = {
    **{name: FLICKR30K[name] for name in ("results_20130124.token", "flickr30k-images")},
    "imgs_train.txt": "a.b\n",  # with and without .jpg
    "imgs_val.txt": "c d.jpg\n",
    "imgs_test.txt": "e\n",
}


def coco(*images):
    """COCO's captions for (file name, captions) pairs."""
    annotations = [{"image_id": k, "caption": one} for k, (_, captions) in enumerate(images) for one in captions]
    return json.dumps(
        {"images": [{"id": k, "file_name": name} for k, (name, _) in enumerate(images)]}
        | {"annotations": annotations[::-1]}
    )


def karpathy(*images):
    """Karpathy's JSON for (folder, file name, split, captions)."""
    keys = "filepath", "filename", "split"
    listed = [
        dict(zip(keys, one, strict=True)) | {"sentences": [{"raw": raw} for raw in captions]}
        for *one, captions in images
    ]
    return json.dumps({"images": listed})


TRAIN_CAPTIONS, VAL_CAPTIONS = "annotations/captions_train2017.json", "annotations/captions_val2017.json"
KARPATHY_JSON = "dataset_coco.json"
COCO = {
    TRAIN_CAPTIONS: coco(("a.b.jpg", ["one\tdog, ", "A dog .\n"])),
    VAL_CAPTIONS: coco(("c d.jpg", ["Two\ndogs"])),
    "annotations/captions_test2017.json": coco(("e.jpg", ["three"])),
    "annotations/captions_val2014.json": "not read without its folder",
    "annotations/instances_val2017.json": "for maps",
    **dict.fromkeys(("train2017", "val2017", "test2017"), FOLDER),
}
COCO_KARPATHY = {
    KARPATHY_JSON: karpathy(
        ("train2014", "a.b.jpg", "train", ["A dog .", "one dog,"]),
        ("val2014", "c d.jpg", "val", ["Two dogs\n"]),
        ("val2014", "e.jpg", "test", ["three"]),
        ("val2014", "f.jpg", "restval", ["four"]),
    ),
    "annotations/captions_val2014.json": "not read",
    **dict.fromkeys(("train2014", "val2014"), FOLDER),
}
PASCAL1K = {"captions.token": TOKENS, "images": FOLDER}
LAYOUTS = {
    "MSR-VTT": ("MSR-VTT", MSR_VTT),
    "Flickr8k": ("Flickr8k", FLICKR8K),
    "Flickr30k": ("Flickr30k", FLICKR30K),
    "Flickr30k, lists": ("Flickr30k", FLICKR30K_LISTS),
    "COCO": ("COCO", COCO),
    "COCO, Karpathy": ("COCO", COCO_KARPATHY),
    "PASCAL1k": ("PASCAL1k", PASCAL1K),
}


def lay_out(layout, changes=None):
    """Make a layout, with other content for some of its files (None: left out) -> the data set's Config."""
    dataset, content = LAYOUTS[layout]
    folder = Path(cfg.DATASETS[dataset].data_dir)
    folder.mkdir(parents=True)
    for name, text in (content | (changes or {})).items():
        if text is FOLDER:
            (folder / name).mkdir()
        elif text is not None:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return cfg.DATASETS[dataset]
