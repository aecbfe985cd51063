"""Data sets of twelve media, coloured squares, made on the spot in each of the three layouts; small COCO and DAVIS."""

import json

import numpy as np
from PIL import Image

from vision import writing

COLOURS = {"red": (220, 40, 30), "green": (40, 190, 60), "blue": (40, 70, 220)}


def picture(colour, seed, height=48, width=64):
    """A coloured square somewhere on grey noise, uint8 [height, width, 3]."""
    rng = np.random.default_rng(seed)
    image = rng.integers(100, 140, (height, width, 3), dtype=np.uint8)
    y, x = rng.integers(0, height - 24), rng.integers(0, width - 24)
    image[y : y + 24, x : x + 24] = COLOURS[colour]
    return image


def samples():
    """Twelve media: (number, colour, split, captions)."""
    for number in range(12):
        colour = list(COLOURS)[number % 3]
        split = "train" if number < 6 else "validate" if number < 9 else "test"
        yield number, colour, split, [f"A {colour} square.", f"the square is {colour}"]


def write_token_file(path):
    lines = [f"im {n}.x.jpg#{k}\t{c}" for n, _, _, captions in samples() for k, c in enumerate(captions)]
    path.write_text("\n".join(lines) + "\n")


def write_images(folder):
    folder.mkdir(parents=True)
    for number, colour, _, _ in samples():
        Image.fromarray(picture(colour, number)).save(folder / f"im {number}.x.jpg", quality=95)


def write_lists(folder, pattern, names):
    for split, name in names.items():
        lines = [f"im {number}.x.jpg" for number, _, own, _ in samples() if own == split]
        (folder / pattern.format(name)).write_text("\n".join(lines) + "\n")


def write_flickr8k(folder):
    write_images(folder / "Flicker8k_Dataset")
    write_token_file(folder / "Flickr8k.token.txt")
    write_lists(folder, "Flickr_8k.{}Images.txt", {"train": "train", "validate": "dev", "test": "test"})


def write_flickr30k(folder):
    write_images(folder / "flickr30k-images")
    write_token_file(folder / "results_20130124.token")
    write_lists(folder, "imgs_{}.txt", {"train": "train", "validate": "val", "test": "test"})


def write_frames(folder, frames):
    for k, frame in enumerate(frames):
        writing.write_image(folder / f"{k:05d}.png", frame)


def write_msr_vtt(folder):
    """Clips of 3 to 14 frames: fewer than the 26 that are sampled; one is a folder of its frames."""
    parts = {"train_val": ("TrainValVideo", []), "test": ("TestVideo", [])}
    for number, colour, split, captions in samples():
        videos_folder, listed = parts["test" if split == "test" else "train_val"]
        (folder / videos_folder).mkdir(parents=True, exist_ok=True)
        frames = [picture(colour, 100 * number + k) for k in range(3 + number)]
        if number == 10:
            write_frames(folder / videos_folder / f"video{number}", frames)
        else:
            writing.write_video(folder / videos_folder / f"video{number}.mp4", frames, 10)
        listed.append(({"video_id": f"video{number}", "split": split, "start time": 0.0}, captions))
    for part, (_, listed) in parts.items():
        sentences = [{"video_id": v["video_id"], "caption": c} for v, captions in listed for c in captions]
        info = {"videos": [video for video, _ in listed], "sentences": sentences}
        (folder / f"{part}_videodatainfo.json").write_text(json.dumps(info))


# By data set: how to write it, where, one of its test media, and the form of that one's picture.
LAYOUTS = {
    "Flickr8k": (write_flickr8k, "DATA/Flickr8k", "im 9.x", "png"),
    "Flickr30k": (write_flickr30k, "DATA/Flickr30k", "im 9.x", "png"),
    "MSR-VTT": (write_msr_vtt, "DATA/MSR_VTT", "video9", "mp4"),
}


def write_coco(folder):
    """Two images with a red square in their left half; of a third the file is broken."""
    (folder / "annotations").mkdir(parents=True)
    (folder / "val").mkdir()
    images = [{"id": k, "file_name": f"{k}.png", "height": 48, "width": 64} for k in range(3)]
    left = [0, 0, 32, 0, 32, 48, 0, 48]
    things = [{"id": k, "image_id": k, "category_id": 1, "segmentation": [left], "iscrowd": 0} for k in range(3)]
    captions = [{"id": k, "image_id": k, "caption": f"A red square{'s' * (k % 2)} there."} for k in range(3)]
    instances = {"images": images, "annotations": things, "categories": [{"id": 1, "name": "square"}]}
    (folder / "annotations/instances_val.json").write_text(json.dumps(instances))
    (folder / "annotations/captions_val.json").write_text(json.dumps({"images": images, "annotations": captions}))
    for k in range(2):
        Image.fromarray(picture("red", k)).save(folder / f"val/{k}.png")
    (folder / "val/2.png").write_bytes(b"nothing")


def write_coco_captions(folder):
    """COCO with captions alone: six images to train on, with one caption each."""
    train = [(number, colour) for number, colour, split, _ in samples() if split == "train"]
    (folder / "annotations").mkdir(parents=True)
    (folder / "train2017").mkdir()
    for number, colour in train:
        Image.fromarray(picture(colour, 200 + number)).save(folder / f"train2017/{number}.jpg", quality=95)
    images = [{"id": number, "file_name": f"{number}.jpg"} for number, _ in train]
    captions = [{"image_id": number, "caption": f"one\n{colour} thing"} for number, colour in train]
    text = json.dumps({"images": images, "annotations": captions})
    (folder / "annotations/captions_train2017.json").write_text(text)


def write_pascal1k(folder):
    """All twelve pictures are to train on."""
    write_images(folder / "images")
    write_token_file(folder / "captions.token")


def write_davis(folder):
    """Two clips of four frames with a red square; the masks show their left halves."""
    left = np.zeros((48, 64, 3), np.uint8)
    left[:, :32] = 255
    for number, clip in enumerate(("one", "two")):
        write_frames(folder / "JPEGImages" / clip, [picture("red", 10 * number + k) for k in range(4)])
        write_frames(folder / "Annotations" / clip, [left] * 4)
    rows = ["clip\tsentence\twords on the mask", "one\tA dog is running.\tdog,running", "two\tdog and dog\tdog"]
    (folder / "sentences.tsv").write_text("\n".join(rows) + "\n")


def write_entities(folder):
    """Two captions of each photograph in the test split of Flickr8k and Flickr30k, and their boxes.

    "A red square" and "the square", both on two boxes that fill the picture, and "a corner" on a 64th of it.
    """
    things = "<size><width>64</width><height>48</height></size>"
    for chain, left, right, bottom in ((1, 0, 32, 48), (1, 32, 64, 48), (2, 0, 8, 6)):
        box = f"<xmin>{left}</xmin><ymin>0</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax>"
        things += f"<object><name>{chain}</name><bndbox>{box}</bndbox></object>"
    sentences = "[/EN#1/other A red square] .\n[/EN#1/other the square] has [/EN#2/scene a corner] .\n"
    for name in ("Sentences", "Annotations"):
        (folder / name).mkdir()
    for number, _, split, _ in samples():
        if split == "test":
            (folder / f"Sentences/im {number}.x.txt").write_text(sentences)
            (folder / f"Annotations/im {number}.x.xml").write_text(f"<annotation>{things}</annotation>")
