"""Data sets as they lie on disk: the media of each layout that docs/data.md draws, their splits and their captions."""

import collections
import dataclasses
import difflib
from pathlib import Path

from system import files
from system.errors import UserError

SPLITS = ("train", "validate", "test")


@dataclasses.dataclass(frozen=True)
class Medium:
    """One video or image of a data set: its id, where its file should lie, its split, and its captions."""

    id: str
    path: Path
    split: str
    captions: tuple


def _read_lines(path, what):
    """The lines of a text file that are not empty, as pairs of their number, from 1, and the line."""
    lines = files.read_text(path, what).split("\n")  # splitlines would also cut inside captions
    return [(number, line) for number, line in enumerate(lines, 1) if line.strip()]


def _checked_id(media_id, source):
    """`media_id` as text, if it can be a file name; ids name files, so one with a path in it is refused."""
    media_id = str(media_id)
    if not media_id or "/" in media_id or "\\" in media_id or media_id in (".", ".."):
        raise UserError(f"{source}: '{media_id}' cannot be a media id, it is no plain file name")
    return media_id


def _read_token_file(path):
    """A Flickr caption file, `name.jpg#k<TAB>caption` a line -> dict of file name -> list of captions."""
    captions = collections.defaultdict(list)
    for number, line in _read_lines(path, "captions, 'name.jpg#k<TAB>caption' a line"):
        name, tab, caption = line.partition("\t")
        name, hash_sign, _ = name.rpartition("#")
        if not (tab and hash_sign):
            raise UserError(f"{path}, line {number}: expected 'name.jpg#k<TAB>caption', found '{line[:60]}'")
        captions[_checked_id(name, f"{path}, line {number}")].append(caption.strip())
    return captions


def _media_of_images(split_of, captions, folder, source):
    """Media from a dict of file name -> split and the captions of the token file."""
    if not Path(folder).is_dir():
        raise UserError(f"{folder} is missing: expected the folder of images; docs/data.md draws the layout")
    without = [name for name in split_of if name not in captions]
    if without:
        raise UserError(f"{len(without)} images of the splits have no caption in {source}, such as '{without[0]}'")
    media = {}
    for name, split in split_of.items():
        medium = Medium(Path(name).stem, Path(folder) / name, split, tuple(captions[name]))
        if medium.id in media:
            raise UserError(
                f"the splits of {Path(folder).parent} name '{media[medium.id].path.name}' and '{name}': an image's id "
                "is its name without the ending, so one of them must be renamed"
            )
        media[medium.id] = medium
    return media


def _read_lists(paths, extension=""):
    """Lists of image names, a dict of split -> path -> dict of file name -> split."""
    split_of = {}
    for split, path in paths.items():
        for number, line in _read_lines(path, f"the image names of the {split} split, one a line"):
            name = _checked_id(line.strip(), f"{path}, line {number}")
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
    split_names = {"train": "train", "val": "validate", "test": "test"}
    split_json = folder / "dataset_flickr30k.json"
    if split_json.exists():
        try:
            images = files.read_json(split_json, "NeuralTalk's splits")["images"]
            split_of = {_checked_id(image["filename"], split_json): split_names[image["split"]] for image in images}
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{split_json}: expected images[] with filename and split (train, val, test); problem with {error}"
            ) from None
    elif (folder / "imgs_train.txt").exists():
        split_of = _read_lists({split_names[k]: folder / f"imgs_{k}.txt" for k in split_names}, ".jpg")
    else:
        raise UserError(
            f"{folder} has no splits: expected NeuralTalk's dataset_flickr30k.json, or imgs_{{train,val,test}}.txt"
        )
    token_file = folder / "results_20130124.token"
    return _media_of_images(split_of, _read_token_file(token_file), folder / "flickr30k-images", token_file)


def _video_path(folder, video_id):
    """Where a video lies: `<id>.mp4`, or a folder `<id>/` of its frames where there is no such file."""
    path = folder / f"{video_id}.mp4"
    return folder / video_id if (folder / video_id).is_dir() and not path.exists() else path


def read_msr_vtt(folder):
    """MSR-VTT: `{train_val,test}_videodatainfo.json`, and `TrainValVideo/` and `TestVideo/`, or `videos/` for both.

    A video is an .mp4 file, or a folder of its frames.
    Without the test set's JSON the data set has no test split; without its videos stage 1 records them as failures.
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
            for sentence in info["sentences"]:
                captions[str(sentence["video_id"])].append(str(sentence["caption"]))
            for video in info["videos"]:
                video_id, split = _checked_id(video["video_id"], path), video["split"]
                if split not in SPLITS:
                    raise UserError(f"{path}: {video_id} has the split '{split}': expected {', '.join(SPLITS)}")
                path_of_video = _video_path(videos_dir, video_id)
                media[video_id] = Medium(video_id, path_of_video, split, tuple(captions[video_id]))
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{path}: expected videos[] with video_id and split, sentences[] with video_id and caption; "
                f"problem with {error}"
            ) from None
        without = next((video["video_id"] for video in info["videos"] if not captions[str(video["video_id"])]), None)
        if without is not None:
            raise UserError(f"{path}: video '{without}' has no sentence")
    return media


READERS = {"MSR-VTT": read_msr_vtt, "Demo": read_msr_vtt, "Flickr30k": read_flickr30k, "Flickr8k": read_flickr8k}


def read_media(config):
    """The media of the configured data set, a dict of id -> Medium; UserError where the layout is not as expected."""
    folder = Path(config.data_dir)
    if not folder.is_dir():
        raise UserError(f"{folder} is missing: put (or link) {config.dataset} there; docs/data.md draws the layout")
    return READERS[config.dataset](folder)


def find_medium(media, media_id):
    """The Medium of that id (an image's file name will do); UserError naming similar ids where there is none."""
    for name in (media_id, Path(media_id).stem):
        if name in media:
            return media[name]
    similar = difflib.get_close_matches(media_id, media, n=3) or list(media)[:3]
    raise UserError(
        f"there is no media id '{media_id}' among the {len(media)} of this data set; similar: {', '.join(similar)}"
    )


def split_media(media, split):
    """The media of one split, in a fixed order."""
    return [medium for medium in media.values() if medium.split == split]
