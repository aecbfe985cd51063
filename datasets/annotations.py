"""Data sets as they lie on disk: the media of each layout that docs/data.md draws, their splits and their captions."""

import collections
import dataclasses
import difflib
import os
import re
from pathlib import Path

from system import console, files
from system.errors import UserError

SPLITS = ("train", "validate", "test")
SPLIT_NAMES = {"train": "train", "val": "validate", "test": "test"}  # as others write them
MOST_OF_AN_ID = 200  # bytes: the names of a medium's files are longer, and a file system takes 255
FLICKR = {"Flickr8k", "Flickr30k"}  # some photographs are in both, under names that begin with the same number


@dataclasses.dataclass(frozen=True)
class Medium:
    """One video or image of a data set: its id, where its file should lie, its split, and its captions.

    In a training on several data sets the id of one of another than the first says which, as in "COCO/sample_12".
    """

    id: str
    path: Path
    split: str
    captions: tuple


def _read_lines(path, what):
    """The lines of a text file that are not empty, as pairs of their number, from 1, and the line."""
    lines = files.read_text(path, what).split("\n")  # splitlines would also cut inside captions
    return [(number, line) for number, line in enumerate(lines, 1) if line.strip()]


def checked_id(media_id, source):
    """`media_id` as text, if it can be a file name; ids name files, so one with a path in it is refused."""
    media_id = str(media_id)
    plain = media_id and not set("/\\\0") & set(media_id) and media_id not in (".", "..")
    if not plain or len(os.fsencode(media_id)) > MOST_OF_AN_ID:
        raise UserError(
            f"{source}: '{console.shown(media_id)}' cannot be a media id, it is no plain file name of at most "
            f"{MOST_OF_AN_ID} bytes"
        )
    return media_id


def _read_token_file(path):
    """A Flickr caption file, `name.jpg#k<TAB>caption` a line -> dict of file name -> list of captions."""
    captions = collections.defaultdict(list)
    for number, line in _read_lines(path, "captions, 'name.jpg#k<TAB>caption' a line"):
        name, tab, caption = line.partition("\t")
        name, hash_sign, _ = name.rpartition("#")
        if not (tab and hash_sign):
            raise UserError(f"{path}, line {number}: expected 'name.jpg#k<TAB>caption', found '{console.shown(line)}'")
        captions[checked_id(name, f"{path}, line {number}")].append(caption.strip())
    return captions


def _media_of_images(split_of, captions, folder, source):
    """Media from a dict of file, below `folder`, -> split, and from the captions of these files that `source` has."""
    for images in sorted({(Path(folder) / name).parent for name in split_of}):
        if not images.is_dir():
            raise UserError(f"{images} is missing: expected the folder of images; docs/data.md draws the layout")
    if split_of and not any(captions.get(name) for name in split_of):
        name = console.shown(next(iter(split_of)))
        raise UserError(f"no image of the splits has a caption in {source}; the first one is '{name}'")
    media = {}
    for name, split in split_of.items():
        medium = Medium(Path(name).stem, Path(folder) / name, split, tuple(captions.get(name, ())))
        if medium.id in media:
            raise UserError(
                f"'{media[medium.id].path}' and '{medium.path}': an image's id is its name without the ending, so one "
                "of them must be renamed"
            )
        media[medium.id] = medium
    return media


def _read_lists(paths, extension=""):
    """Lists of image names, a dict of split -> path -> dict of file name -> split."""
    split_of = {}
    for split, path in paths.items():
        for number, line in _read_lines(path, f"the image names of the {split} split, one a line"):
            name = checked_id(line.strip(), f"{path}, line {number}")
            split_of[name if name.endswith(extension) else name + extension] = split
    return split_of


def read_flickr8k(folder):
    """Flickr8k: `Flickr8k.token.txt`, `Flickr_8k.{train,dev,test}Images.txt`, `Flicker8k_Dataset/`."""
    names = {"train": "train", "validate": "dev", "test": "test"}
    split_of = _read_lists({split: folder / f"Flickr_8k.{names[split]}Images.txt" for split in SPLITS})
    token_file = folder / "Flickr8k.token.txt"
    return _media_of_images(split_of, _read_token_file(token_file), folder / "Flicker8k_Dataset", token_file)


def read_flickr30k(folder):
    """Flickr30k: `results_20130124.token`, `flickr30k-images/`, and the splits of NeuralTalk.

    The splits are its `dataset_flickr30k.json`, or the lists `imgs_{train,val,test}.txt`.
    """
    split_json = folder / "dataset_flickr30k.json"
    if split_json.exists():
        try:
            images = files.read_json(split_json, "NeuralTalk's splits")["images"]
            split_of = {checked_id(image["filename"], split_json): SPLIT_NAMES[image["split"]] for image in images}
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{split_json}: expected images[] with filename and split (train, val, test); problem with {error}"
            ) from None
    elif (folder / "imgs_train.txt").exists():
        split_of = _read_lists({split: folder / f"imgs_{name}.txt" for name, split in SPLIT_NAMES.items()}, ".jpg")
    else:
        raise UserError(
            f"{folder} has no splits: expected NeuralTalk's dataset_flickr30k.json, or imgs_{{train,val,test}}.txt"
        )
    token_file = folder / "results_20130124.token"
    return _media_of_images(split_of, _read_token_file(token_file), folder / "flickr30k-images", token_file)


def read_pascal1k(folder):
    """The UIUC PASCAL sentences: `captions.token` and `images/`, all of it to train on."""
    token_file = folder / "captions.token"
    captions = _read_token_file(token_file)
    return _media_of_images(dict.fromkeys(captions, "train"), captions, folder / "images", token_file)


def read_coco(folder):
    """COCO: `annotations/captions_<part>.json` and the images in `<part>/`, such as train2017 or val2014.

    The parts whose two are there are read; how the name begins says which split it is. Where Karpathy's
    `dataset_coco.json` is there, its splits and captions count.
    """
    split_json, annotations_folder = folder / "dataset_coco.json", folder / "annotations"
    if split_json.exists():
        return _media_of_images(*_read_karpathy(split_json), folder, split_json)
    names = [path.stem for path in sorted(annotations_folder.glob("captions_*.json"))]
    matches = filter(None, (re.fullmatch(r"captions_((train|val|test).*)", name) for name in names))
    parts = {match[1]: SPLIT_NAMES[match[2]] for match in matches if (folder / match[1]).is_dir()}
    if not parts:
        raise UserError(
            f"{folder} has no annotations/captions_<part>.json with its images in <part>/, such as train2017; "
            "docs/data.md draws the layout"
        )
    if len({re.sub(r"\D", "", part) for part in parts}) > 1:
        raise UserError(
            f"{folder} has {', '.join(parts)}: the years divide the same photographs differently, so leave only those "
            "of one year there"
        )
    split_of, captions = {}, {}
    for part, split in parts.items():
        own = _read_coco_captions(annotations_folder / f"captions_{part}.json", part)
        split_of |= dict.fromkeys(own, split)
        captions |= own
    return _media_of_images(split_of, captions, folder, annotations_folder)


def _read_coco_captions(path, part):
    """A captions file of COCO -> dict of `<part>/<file name>` -> list of captions."""
    info, captions = files.read_json(path, "COCO's images and captions"), collections.defaultdict(list)
    try:
        for one in info["annotations"]:
            captions[one["image_id"]].append(_in_one_line(one["caption"]))
        return {f"{part}/{checked_id(image['file_name'], path)}": captions[image["id"]] for image in info["images"]}
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: expected images[] with id and file_name, annotations[] with image_id and caption; problem with "
            f"{error}"
        ) from None


def _read_karpathy(path):
    """Karpathy's `dataset_coco.json` -> dicts of `<folder>/<file name>` -> split, and -> list of captions."""
    names, split_of, captions = SPLIT_NAMES | {"restval": "train"}, {}, {}
    try:
        for image in files.read_json(path, "Karpathy's splits and captions of COCO")["images"]:
            name = "/".join(checked_id(image[key], path) for key in ("filepath", "filename"))
            split_of[name] = names[image["split"]]
            captions[name] = [_in_one_line(sentence["raw"]) for sentence in image["sentences"]]
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: expected images[] with filepath, filename, split ({', '.join(names)}) and sentences[] with raw; "
            f"problem with {error}"
        ) from None
    return split_of, captions


def _in_one_line(caption):
    """A caption without the line breaks that some of COCO's have."""
    return " ".join(caption.split())


def _video_path(folder, video_id):
    """Where a video lies: `<id>.mp4`, or a folder `<id>/` of its frames where there is no such file."""
    path = folder / f"{video_id}.mp4"
    return folder / video_id if (folder / video_id).is_dir() and not path.exists() else path


def read_msr_vtt(folder):
    """MSR-VTT: `{train_val,test}_videodatainfo.json`, and `TrainValVideo/` and `TestVideo/`, or `videos/` for both.

    A video is an .mp4 file, or a folder of its frames.
    Without the test set's JSON the data set has no test split; without its videos stage 1 records them as failures. A
    video without a sentence, as the challenge gave out the test set's, has no captions.
    """
    media = {}
    for part, videos_folder in (("train_val", "TrainValVideo"), ("test", "TestVideo")):
        path = folder / f"{part}_videodatainfo.json"
        if part == "test" and not path.exists():
            continue
        info = files.read_json(path, "MSR-VTT's list of videos and sentences")
        videos_dir = next(
            (d for d in (folder / videos_folder, folder / "videos") if d.is_dir()), folder / videos_folder
        )
        if part == "train_val" and not videos_dir.is_dir():
            raise UserError(f"{folder} has neither {videos_folder}/ nor videos/: expected the .mp4 files there")
        try:
            captions = collections.defaultdict(list)
            for sentence in info.get("sentences", ()):
                captions[str(sentence["video_id"])].append(str(sentence["caption"]))
            for video in info["videos"]:
                video_id, split = checked_id(video["video_id"], path), video["split"]
                split = SPLIT_NAMES.get(split, split)  # mirrors have "val"
                if split not in SPLITS:
                    split = console.shown(split)
                    raise UserError(f"{path}: {video_id} has the split '{split}': expected {', '.join(SPLITS)}")
                path_of_video = _video_path(videos_dir, video_id)
                media[video_id] = Medium(video_id, path_of_video, split, tuple(captions[video_id]))
        except (AttributeError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: expected videos[] with video_id and split, sentences[] with video_id and caption; "
                f"problem with {error}"
            ) from None
    return media


READERS = {
    "MSR-VTT": read_msr_vtt,
    "Demo": read_msr_vtt,
    "Flickr30k": read_flickr30k,
    "Flickr8k": read_flickr8k,
    "COCO": read_coco,
    "PASCAL1k": read_pascal1k,
}


def read_media(config):
    """The media of the configured data set, and those to train on of its more_sources: a dict of id -> Medium.

    Those that Flickr8k and Flickr30k share are left out where validation or test need them. UserError where a layout is
    not as expected.
    """
    folder = Path(config.data_dir)
    if not folder.is_dir():
        raise UserError(f"{folder} is missing: put (or link) {config.dataset} there; docs/data.md draws the layout")
    media = READERS[config.dataset](folder)
    for source in config.sources[1:]:
        other = config.of(source)
        added = split_media(read_media(other), "train")
        if not added:
            raise UserError(f"{other.data_dir} has no train split, so {source} has nothing to add")
        if {config.dataset, source} == FLICKR:
            kept_apart = {_number(one) for one in media.values() if one.split != "train"}
            added = [one for one in added if _number(one) not in kept_apart]
        media |= {f"{source}/{one.id}": dataclasses.replace(one, id=f"{source}/{one.id}") for one in added}
    return media


def _number(medium):
    """The number that the name of a photograph of Flickr8k or Flickr30k begins with."""
    return medium.id.partition("_")[0]


def find_medium(media, media_id):
    """The Medium of that id (an image's file name will do); UserError naming similar ids where there is none."""
    for name in (media_id, Path(media_id).stem):
        if name in media:
            return media[name]
    media_id = console.shown(media_id)
    similar = ", ".join(difflib.get_close_matches(media_id, media, n=3) or list(media)[:3])
    raise UserError(f"there is no media id '{media_id}' among the {len(media)} of this data set; similar: {similar}")


def captioned(media):
    """Those of some media that have captions, as a split of a challenge may not; UserError where none has."""
    with_captions = [medium for medium in media if medium.captions]
    if media and not with_captions:
        raise UserError(
            f"none of the {len(media)} media of the {media[0].split} split has a caption, such as "
            f"{console.shown(media[0].id)}: it can neither be trained on nor scored"
        )
    return with_captions


def split_media(media, split):
    """The media of one split, in a fixed order."""
    return [medium for medium in media.values() if medium.split == split]
