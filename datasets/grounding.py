"""Where the words of a caption are in the photograph: boxes of Flickr30k Entities, masks of COCO.

    for captioned in grounding.read_coco("DATA/COCO"):   # one for each caption
        captioned.image, captioned.words, captioned.phrases

A phrase is a group of words that name something, and the region where it is.
"""

import collections
import functools
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.ndimage

from data_loader import tokenize
from datasets import annotations
from system import files
from system.errors import UserError

MOST_OF_A_SIDE = 1_000_000  # pixels of a photograph with boxes
MASK_PIXELS = 16_000_000  # of an image with masks, at most


@dataclass(frozen=True)
class Boxes:
    """A region of boxes (left, top, right, bottom), float [n, 4], in pixels of a photograph of height x width."""

    boxes: np.ndarray
    height: int
    width: int

    def distance(self, y, x):
        """How far the points (y, x), arrays in shares of the photograph, are from the region: in pixels, 0 inside."""
        y, x = (np.asarray(y) * self.height)[..., None], (np.asarray(x) * self.width)[..., None]
        left, top, right, bottom = self.boxes.T  # each [n]
        outside_y = np.maximum(0, np.maximum(top - y, y - bottom))  # [..., n]
        outside_x = np.maximum(0, np.maximum(left - x, x - right))
        return np.hypot(outside_y, outside_x).min(axis=-1)

    def around(self):
        """The one box around them all."""
        corners = *self.boxes[:, :2].min(axis=0), *self.boxes[:, 2:].max(axis=0)
        return Boxes(np.array([corners]), self.height, self.width)


@functools.lru_cache(maxsize=16)
def _distances(height, width, counts):
    """How far each pixel is from those of a run-length encoded mask: [height, width]; kept while a phrase is scored."""
    return scipy.ndimage.distance_transform_edt(~Mask({"size": [height, width], "counts": counts}).mask)


@dataclass(frozen=True)
class Mask:
    """A region of pixels, not empty, run-length encoded as pycocotools does it: thousands of them fit into memory."""

    rle: dict

    @property
    def mask(self):
        """bool [height, width]."""
        from pycocotools import mask

        return mask.decode(self.rle) > 0

    def distance(self, y, x):
        """As `Boxes.distance`."""
        height, width = self.rle["size"]
        distances = _distances(height, width, self.rle["counts"])
        rows = np.minimum((np.asarray(y) * height).astype(int), height - 1)
        columns = np.minimum((np.asarray(x) * width).astype(int), width - 1)
        return distances[rows, columns]


@dataclass(frozen=True)
class Phrase:
    """`places`: which words of the caption, counted from 0; `kind`: the type or category of what they name.

    `chain`: of Entities, the same number for all phrases of a photograph that name the same.
    """

    places: tuple
    kind: str
    region: Boxes | Mask
    chain: int | None = None


@dataclass(frozen=True)
class CaptionedImage:
    """A caption as words (data_loader.tokenize), with its phrases that have a region."""

    image: Path
    words: tuple
    phrases: tuple


# Flickr30k Entities (Plummer et al., ICCV 2015)

_PHRASE = re.compile(r"\[/EN#(\d+)/(\S+) ([^\]]*)\]|(\S+)")


def parse_sentence(line):
    """A line of Entities -> its words, and for each phrase its places, chain number and type.

    Punctuation that `tokenize` drops is no word; of several types (`people/scene`) the first counts.
    """
    words, phrases = [], []
    for chain, kinds, text, other in _PHRASE.findall(line):
        found = tokenize(text or other)
        if chain and found:
            phrases.append((tuple(range(len(words), len(words) + len(found))), int(chain), kinds.split("/")[0]))
        words += found
    return tuple(words), phrases


def read_boxes(path):
    """An annotation file of Entities -> dict of chain number -> Boxes. UserError where it is not one."""
    import defusedxml
    import defusedxml.ElementTree

    try:
        root = defusedxml.ElementTree.fromstring(files.read_text(path, "boxes of Flickr30k Entities"))
        width, height = (int(root.findtext(f"size/{side}")) for side in ("width", "height"))
        if min(width, height) < 1 or max(width, height) > MOST_OF_A_SIDE:
            raise ValueError(f"a photograph of {width} x {height} pixels")
        boxes = collections.defaultdict(list)
        for thing in root.iter("object"):
            for box in thing.iter("bndbox"):
                corners = [float(box.findtext(name)) for name in ("xmin", "ymin", "xmax", "ymax")]
                if not np.isfinite(corners).all() or corners[0] > corners[2] or corners[1] > corners[3]:
                    raise ValueError(f"a box from {corners[:2]} to {corners[2:]}")
                for name in thing.iter("name"):
                    boxes[int(name.text)].append(corners)
    except (defusedxml.ElementTree.ParseError, defusedxml.DefusedXmlException, TypeError, ValueError) as error:
        raise UserError(f"{path}: not boxes of Flickr30k Entities ({error})") from None
    return {chain: Boxes(np.array(found), height, width) for chain, found in boxes.items()}


def read_entities(folder, media):
    """The captions of Entities for some media (annotations.Medium) -> list of CaptionedImage.

    `folder` holds `Sentences/<id>.txt` and `Annotations/<id>.xml`, <id> being an image's name up to the first `_`. A
    phrase without a box, or of the type `notvisual`, is left out. UserError where there is no file for an image.
    """
    captioned = []
    for medium in media:
        name = medium.path.stem.partition("_")[0]
        boxes = read_boxes(Path(folder) / "Annotations" / f"{name}.xml")
        sentences = files.read_text(Path(folder) / "Sentences" / f"{name}.txt", "captions of Flickr30k Entities")
        for line in filter(str.strip, sentences.split("\n")):
            try:
                words, found = parse_sentence(line)
            except ValueError as error:  # a number of thousands of digits
                raise UserError(
                    f"{folder}/Sentences/{name}.txt: not captions of Flickr30k Entities ({error})"
                ) from None
            phrases = [
                Phrase(places, kind, boxes[chain], chain)
                for places, chain, kind in found
                if chain in boxes and kind != "notvisual"
            ]
            captioned.append(CaptionedImage(medium.path, words, tuple(phrases)))
    return captioned


# COCO (Lin et al., ECCV 2014)

# Words that name a category, beside its own name and that with an s.
COCO_WORDS = {
    "person": "man men woman women boy boys girl girls child children kid kids lady guy people player players rider "
    "skier surfer skateboarder snowboarder baby batter catcher",
    "bicycle": "bike bikes",
    "motorcycle": "motorbike motorbikes motorcyclist",
    "airplane": "plane planes jet jets aircraft airplanes",
    "bus": "buses",
    "dog": "puppy puppies",
    "cat": "kitten kittens",
    "cow": "cattle calf",
    "horse": "pony",
    "couch": "sofa",
    "tv": "television",
    "cell phone": "phone cellphone",
    "dining table": "table",
    "refrigerator": "fridge",
    "sports ball": "ball",
    "boat": "boats ship canoe",
    "truck": "trucks",
    "bench": "benches",
    "bird": "birds duck ducks seagull",
    "potted plant": "plant",
    "laptop": "computer",
    "donut": "doughnut donuts doughnuts",
    "sheep": "lamb",
    "teddy bear": "teddy",
    "skis": "ski",
    "surfboard": "board",
    "snowboard": "board",
    "skateboard": "board",
    "tennis racket": "racket racquet",
    "baseball bat": "bat",
    "baseball glove": "glove mitt",
    "fire hydrant": "hydrant",
    "knife": "knives",
    "mouse": "mice",
}


def coco_categories(names):
    """Category names -> dict of word -> the categories that it can name; names of two words have COCO_WORDS alone."""
    named = collections.defaultdict(set)
    for name in names:
        own = [name, f"{name}s"] if " " not in name else []
        for word in [*own, *COCO_WORDS.get(name, "").split()]:
            named[word].add(name)
    return named


def read_coco(folder):
    """COCO's captions with the words that name an annotated category -> list of CaptionedImage.

    `folder` holds `annotations/captions_<split>.json` and `instances_<split>.json`, and the images in `<split>/`; all
    splits that are there are read. A word's region is the union of all its category's instances in the image; a word
    that names none of those present is no phrase. UserError where files are missing or are something else.
    """
    paths = sorted(Path(folder, "annotations").glob("instances_*.json"))
    if not paths:
        raise UserError(
            f"{folder} has no annotations/instances_*.json: put (or link) COCO there; docs/data.md draws the layout"
        )
    captioned = []
    for path in paths:
        split = path.stem.partition("_")[2]
        captions_path = path.with_name(f"captions_{split}.json")
        if not captions_path.exists():
            raise UserError(f"{captions_path} is missing: the captions of {path.name}")
        instances, captions = files.read_table(path, "COCO's masks"), files.read_table(captions_path, "COCO's captions")
        try:
            captioned += _coco_split(instances, captions, Path(folder) / split)
        except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise UserError(
                f"{path} and {captions_path.name} are not COCO's ({type(error).__name__}: {error})"
            ) from None
    return captioned


def _coco_split(instances, captions, images):
    """Generate the CaptionedImages of one split; any error of Python's where the two tables are not COCO's."""
    from pycocotools import mask

    names = {category["id"]: category["name"] for category in instances["categories"]}
    named = coco_categories(names.values())
    parts = collections.defaultdict(list)  # of each image and category that is there
    sizes = {image["id"]: _checked_size(image) for image in instances["images"]}
    for annotation in instances["annotations"]:
        if annotation["segmentation"]:  # some files have boxes alone
            size = sizes[annotation["image_id"]]
            parts[annotation["image_id"], names[annotation["category_id"]]].append(_checked_rle(annotation, *size))
    regions = collections.defaultdict(dict)  # of each image
    for (image_id, category), found in parts.items():
        region = Mask(mask.merge(found))
        if mask.area(region.rle):
            regions[image_id][category] = region
    captions_of = collections.defaultdict(list)
    for caption in captions["annotations"]:
        captions_of[caption["image_id"]].append(tuple(tokenize(caption["caption"])))
    for image in sorted(instances["images"], key=lambda image: image["id"]):
        path, present = images / annotations.checked_id(image["file_name"], "file_name"), regions[image["id"]]
        for words in captions_of[image["id"]]:
            yield CaptionedImage(path, words, tuple(_named_regions(words, named, present)))


def _named_regions(words, named, regions):
    """Generate the phrases of a caption: a word that names one of the categories that are there."""
    from pycocotools import mask

    for place, word in enumerate(words):
        present = [category for category in sorted(named.get(word, ())) if category in regions]
        if present:
            yield Phrase((place,), present[0], Mask(mask.merge([regions[category].rle for category in present])))


def _checked_size(image):
    """Height and width of an image of COCO's; ValueError where they are no whole numbers, or make a mask too large."""
    height, width = image["height"], image["width"]
    if type(height) is not int or type(width) is not int or min(height, width) < 1 or height * width > MASK_PIXELS:
        raise ValueError(f"image {image['id']} of {width} x {height} pixels, of which {MASK_PIXELS} can be scored")
    return height, width


def _checked_rle(annotation, height, width):
    """The mask of one instance as pycocotools encodes it; ValueError for what its native code would not survive.

    That is: corners that are no numbers or far outside, another size than the image's, and runs that do not fill it.
    """
    from pycocotools import mask

    segmentation, where = annotation["segmentation"], f"the mask of annotation {annotation.get('id')}"
    if isinstance(segmentation, list):
        polygons = [np.array(polygon, np.float64) for polygon in segmentation]
        for corners in polygons:
            points = corners.reshape(-1, 2)  # [n, (x, y)]
            if len(points) < 3 or not (np.abs(points) <= (2 * width, 2 * height)).all():
                raise ValueError(f"{where} has a polygon without three corners in the image")
        return mask.merge(mask.frPyObjects([corners.tolist() for corners in polygons], height, width))
    counts = segmentation["counts"]
    runs = counts if isinstance(counts, list) else _unpacked_runs(counts)
    if segmentation["size"] != [height, width] or not all(type(run) is int and run >= 0 for run in runs):
        raise ValueError(f"{where} is of another size than its image")
    if sum(runs) != height * width:
        raise ValueError(f"{where} has runs of {sum(runs)} pixels for an image of {height * width}")
    return mask.frPyObjects({"size": [height, width], "counts": runs}, height, width)


def _unpacked_runs(text):
    """The runs of COCO's compressed encoding: five bits a letter, differences from the run before the last."""
    runs, value, shift = [], 0, 0
    for letter in text.encode("ascii"):
        bits = letter - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError(f"a mask has the letter {chr(letter)!r}, which its encoding does not")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:  # the last letter of this run, whose highest bit is the sign
            value -= (bits & 16) << (shift - 4)
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs
