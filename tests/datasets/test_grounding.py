"""Boxes of Entities and masks of COCO: distances by hand, and files made on the spot."""

import json
from pathlib import Path

import numpy as np
import pycocotools.mask
import pytest

from datasets import annotations, grounding
from system.errors import UserError

MEDIUM = annotations.Medium("12_ab", Path("images/12_ab.jpg"), "validate", ("a dog",))

SENTENCES = """[/EN#1/people A tall man] with [/EN#2/animals/people a dog] , [/EN#0/notvisual it] runs .
[/EN#3/scene a field]
"""
BOXES = """<annotation><size><width>200</width><height>100</height><depth>3</depth></size>
<object><name>1</name><name>2</name>
 <bndbox><xmin>20</xmin><ymin>10</ymin><xmax>40</xmax><ymax>60</ymax></bndbox></object>
<object><name>2</name><bndbox><xmin>100</xmin><ymin>50</ymin><xmax>150</xmax><ymax>90</ymax></bndbox></object>
<object><name>3</name><scene>1</scene><nobndbox>1</nobndbox></object></annotation>"""


def write_entities(folder, boxes=BOXES):
    for name, text in (("Sentences/12.txt", SENTENCES), ("Annotations/12.xml", boxes)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def mask_region(mask):
    return grounding.Mask(pycocotools.mask.encode(np.asfortranarray(mask, np.uint8)))


def test_distance_from_boxes_by_hand():
    region = grounding.Boxes(np.array([[20, 10, 40, 60], [100, 50, 150, 90]]), 100, 200)
    y, x = np.array([0.2, 0.2, 0.9, 0.5, 1.0]), np.array([0.15, 0.25, 0.75, 0.35, 0.16])
    # (20, 30) inside; (20, 50) 10 to the right; (90, 150) a corner; (50, 70) 30 from both; (100, 32) 40 below.
    np.testing.assert_allclose(region.distance(y, x), [0, 10, 0, 30, 40])
    assert region.distance(0.7, 0.25) == pytest.approx(np.hypot(10, 10))


def test_the_box_around_boxes():
    around = grounding.Boxes(np.array([[20, 10, 40, 60], [10, 50, 15, 90.5]]), 100, 200).around()
    assert (around.boxes.tolist(), around.height, around.width) == ([[10, 10, 40, 90.5]], 100, 200)


def test_distance_from_a_mask_by_hand():
    mask = np.zeros((10, 20), bool)
    mask[2:4, 5:8] = True
    region = mask_region(mask)
    assert region.distance(0.25, 0.3) == 0  # pixel (2, 6)
    assert region.distance(0.25, 0.5) == 3  # pixel (2, 10), three to the right of (2, 7)
    assert region.distance(1.0, 0.3) == 6  # the last row
    np.testing.assert_allclose(region.distance(np.array([0.25, 0.65]), np.array([0.3, 0.55])), [0, 5])


def test_sentence_of_entities():
    words, phrases = grounding.parse_sentence(SENTENCES.split("\n")[0])
    assert words == ("a", "tall", "man", "with", "a", "dog", "it", "runs")
    assert phrases == [((0, 1, 2), 1, "people"), ((4, 5), 2, "animals"), ((6,), 0, "notvisual")]


def test_entities(tmp_path):
    first, second = grounding.read_entities(write_entities(tmp_path), [MEDIUM])
    assert (first.image, second.words, second.phrases) == (MEDIUM.path, ("a", "field"), ())  # the field has no box
    man, dog = first.phrases
    assert (man.places, man.kind, man.region.boxes.tolist()) == ((0, 1, 2), "people", [[20, 10, 40, 60]])
    assert (man.chain, dog.chain) == (1, 2)
    assert dog.region.boxes.tolist() == [[20, 10, 40, 60], [100, 50, 150, 90]]
    assert (dog.region.height, dog.region.width) == (100, 200)


@pytest.mark.parametrize(
    "boxes",
    [
        BOXES[:-20],
        BOXES.replace("<width>200</width>", ""),
        BOXES.replace("40", "far"),
        '<!DOCTYPE a [<!ENTITY b "c">]>' + BOXES.replace("200", "&b;"),
    ],
    ids=["cut", "no width", "no number", "entity"],
)
def test_what_is_no_annotation_of_entities_is_told(tmp_path, boxes):
    with pytest.raises(UserError, match=r"12\.xml: not boxes of Flickr30k Entities"):
        grounding.read_entities(write_entities(tmp_path, boxes), [MEDIUM])


def test_missing_files_are_told(tmp_path):
    with pytest.raises(UserError, match=r"12\.xml is missing"):
        grounding.read_entities(tmp_path, [MEDIUM])
    with pytest.raises(UserError, match="no annotations/instances_"):
        grounding.read_coco(tmp_path)


def write_coco(folder):
    """One image of 20 x 10 pixels: a dog in the upper left quarter, two persons on the right."""

    def box(left, top, right, bottom):
        return [[left, top, right, top, right, bottom, left, bottom]]

    images = [{"id": 7, "file_name": "7.jpg", "height": 10, "width": 20}]
    things = [(1, box(0, 0, 10, 5)), (2, box(15, 0, 20, 4)), (2, box(15, 6, 20, 10))]
    instances = [
        {"id": k, "image_id": 7, "category_id": category, "segmentation": shape, "area": 1, "bbox": [], "iscrowd": 0}
        for k, (category, shape) in enumerate(things)
    ]
    categories = [{"id": 1, "name": "dog"}, {"id": 2, "name": "person"}, {"id": 3, "name": "tennis racket"}]
    captions = ["Two men and a dog.", "A tennis racket and a cat", "Dogs"]
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    for name, content in (
        ("instances", {"annotations": instances, "categories": categories}),
        ("captions", {"annotations": [{"id": k, "image_id": 7, "caption": one} for k, one in enumerate(captions)]}),
    ):
        (folder / f"annotations/{name}_val.json").write_text(json.dumps({"images": images, **content}))
    return folder


def test_coco(tmp_path):
    first, second, third = grounding.read_coco(write_coco(tmp_path))
    assert first.image == tmp_path / "val/7.jpg"
    assert first.words == ("two", "men", "and", "a", "dog")
    assert [(phrase.places, phrase.kind) for phrase in first.phrases] == [((1,), "person"), ((4,), "dog")]
    persons, dog = (phrase.region.mask for phrase in first.phrases)
    assert dog[:5, :10].all() and dog.sum() == 50
    assert persons[:4, 15:].all() and persons[6:, 15:].all() and persons.sum() == 40  # all of them
    assert second.phrases == ()  # neither is in the image
    assert [phrase.places for phrase in third.phrases] == [(0,)]


def change_shapes(folder, shape):
    path = folder / "annotations/instances_val.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["segmentation"] = shape  # of the dog
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("nothing", [[], [[0.1, 0.1, 0.2, 0.1, 0.2, 0.2]]])
def test_a_category_without_a_pixel_is_not_there(tmp_path, nothing):
    change_shapes(write_coco(tmp_path), nothing)
    first, *_ = grounding.read_coco(tmp_path)
    assert [phrase.kind for phrase in first.phrases] == ["person"]


def test_what_is_not_coco_is_told(tmp_path):
    write_coco(tmp_path)
    change_shapes(tmp_path, [[1, 2]])
    with pytest.raises(UserError, match=r"are not COCO's"):
        grounding.read_coco(tmp_path)
    (tmp_path / "annotations/instances_val.json").unlink()
    write_coco(tmp_path)
    (tmp_path / "annotations/captions_val.json").write_text("[]")
    with pytest.raises(UserError, match=r"captions_val\.json holds no table: expected COCO's captions"):
        grounding.read_coco(tmp_path)
    (tmp_path / "annotations/captions_val.json").unlink()
    with pytest.raises(UserError, match=r"captions_val\.json is missing"):
        grounding.read_coco(tmp_path)


def change(folder, name, /, **values):
    """Change values of the first entry of one list of instances_val.json."""
    path = folder / "annotations/instances_val.json"
    content = json.loads(path.read_text())
    content[name][0] |= values
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "name, values, reason",
    [
        ("images", {"width": 10**9}, "image 7 of 1000000000 x 10 pixels, of which 16000000 can be scored"),
        ("images", {"width": 30_000, "height": 30_000}, "image 7 of 30000 x 30000 pixels"),
        ("images", {"height": 0}, "image 7 of 20 x 0 pixels"),
        ("images", {"height": -5}, "image 7 of 20 x -5 pixels"),
        ("images", {"height": "10"}, "image 7 of 20 x 10 pixels"),
        ("images", {"height": True}, "image 7 of 20 x True pixels"),
        ("images", {"file_name": "/etc/passwd"}, "file_name: '/etc/passwd' cannot be a media id"),
        ("images", {"file_name": "../../x.jpg"}, "file_name: '../../x.jpg' cannot be a media id"),
        ("images", {"id": 8}, "KeyError: 7"),
        ("annotations", {"segmentation": [[0, 0, 1e9, 0, 1e9, 1e9]]}, "three corners in the image"),
        ("annotations", {"segmentation": [[0, 0, float("nan"), 0, 9, 9]]}, "three corners in the image"),
        ("annotations", {"segmentation": [[0, 0, 5, 5]]}, "three corners in the image"),
        ("annotations", {"segmentation": [[0, 0, 5, 5, 9, 0, 3]]}, "ValueError"),
        ("annotations", {"segmentation": [["a", "b", "c", "d", "e", "f"]]}, "ValueError"),
        ("annotations", {"segmentation": {"size": [30_000, 30_000], "counts": [900_000_000]}}, "of another size"),
        ("annotations", {"segmentation": {"size": [10, 20], "counts": [100, 50]}}, "runs of 150 pixels .* of 200"),
        ("annotations", {"segmentation": {"size": [10, 20], "counts": [300, -100]}}, "of another size"),
        ("annotations", {"segmentation": {"size": [10, 20], "counts": [1.5, 198.5]}}, "of another size"),
        ("annotations", {"segmentation": {"size": [10, 20], "counts": "ooooooooooooooo"}}, "not COCO's"),
        ("annotations", {"segmentation": {"size": [10, 20], "counts": "\x1b[2J"}}, "not COCO's"),
        ("annotations", {"segmentation": {"size": [10, 20]}}, "KeyError: 'counts'"),
        ("annotations", {"segmentation": 7}, "TypeError"),
        ("annotations", {"category_id": 9}, "KeyError: 9"),
        ("annotations", {"image_id": [7]}, "TypeError"),
        ("categories", {"name": 3}, "TypeError"),
    ],
    ids=str,
)
def test_masks_that_native_code_would_not_survive_are_told(tmp_path, name, values, reason):
    change(write_coco(tmp_path), name, **values)
    with pytest.raises(UserError, match=reason) as caught:
        grounding.read_coco(tmp_path)
    assert "\n" not in str(caught.value)


def test_masks_of_every_encoding_are_those_of_pycocotools(tmp_path):
    from pycocotools import mask

    pixels = np.random.default_rng(0).random((10, 20)) < 0.3
    encoded = mask.encode(np.asfortranarray(pixels.astype(np.uint8)))
    runs, column_major = [0], pixels.ravel(order="F")
    for pixel, before in zip(column_major, [False, *column_major[:-1]], strict=True):
        runs[-1] += pixel == before
        if pixel != before:
            runs.append(1)
    for counts in (encoded["counts"].decode(), [int(run) for run in runs]):
        change(write_coco(tmp_path), "annotations", segmentation={"size": [10, 20], "counts": counts})
        first, *_ = grounding.read_coco(tmp_path)
        dog = next(phrase for phrase in first.phrases if phrase.kind == "dog")
        np.testing.assert_array_equal(dog.region.mask, pixels)


@pytest.mark.parametrize(
    "old, new, reason",
    [
        ("<width>200</width>", "<width>0</width>", "a photograph of 0 x 100 pixels"),
        ("<width>200</width>", f"<width>{'9' * 5000}</width>", "4300 digits"),
        ("<xmin>10</xmin>", "<xmin>nan</xmin>", "a box from"),
        ("<xmin>10</xmin>", "<xmin>1e400</xmin>", "a box from"),
        ("<xmin>10</xmin>", "<xmin>999</xmin>", "a box from"),
        ("<name>", f"<name>{'9' * 5000}", "4300 digits"),
    ],
)
def test_boxes_that_are_none_are_told(tmp_path, old, new, reason):
    text = (
        "<annotation><size><width>200</width><height>100</height></size><object><name>3</name><bndbox>"
        "<xmin>10</xmin><ymin>20</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object></annotation>"
    )
    (tmp_path / "1.xml").write_text(text)
    assert grounding.read_boxes(tmp_path / "1.xml")[3].boxes.tolist() == [[10, 20, 30, 40]]
    (tmp_path / "1.xml").write_text(text.replace(old, new))
    with pytest.raises(UserError, match=rf"1\.xml: not boxes of Flickr30k Entities \(.*{reason}"):
        grounding.read_boxes(tmp_path / "1.xml")


def test_numbers_of_entities_without_end_are_told(tmp_path):
    for folder in ("Sentences", "Annotations"):
        (tmp_path / folder).mkdir()
    (tmp_path / "Sentences/1.txt").write_text(f"[/EN#{'9' * 5000}/people A man] runs")
    (tmp_path / "Annotations/1.xml").write_text("<a><size><width>2</width><height>2</height></size></a>")
    medium = annotations.Medium("1_a", tmp_path / "1_a.jpg", "validate", ("A man runs",))
    with pytest.raises(UserError, match=r"Sentences/1.txt: not captions of Flickr30k Entities"):
        grounding.read_entities(tmp_path, [medium])
