"""The Demo data set: plans, captions, drawing, and the files on disk."""

import dataclasses
import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cfg
from datasets import annotations
from datasets.demo import clips as demo_clips
from datasets.demo import events as demo_events
from datasets.demo import scenes as demo_scenes
from datasets.demo import things as demo_things
from datasets.demo.scenes import SIZE, Scene, Thing
from system.errors import UserError
from vision import media

ROOT = Path(__file__).resolve().parents[3]
COUNTS = {"n_train": 2, "n_validate": 1, "n_test": 1}
CENTRE = ((128.0, 128.0), (128.0, 128.0))


def thing(kind="house", look="red", event="burns", start=10, stop=26, path=CENTRE, radius=40.0):
    return Thing(kind, look, event, start, stop, radius, path, tilt=0.0, turn=1)


def draw(*things, seed=0, n_frames=36):
    """Frames uint8 [F, h, w, 3] and masks bool [F, n_things, h, w] of a scene of these things."""
    frames, masks = zip(*demo_scenes.render(Scene(n_frames, things), np.random.default_rng(seed)), strict=True)
    return np.stack(frames), np.stack(masks)


@pytest.fixture(scope="module")
def plans():
    return [demo_clips.plan_clip("", 0, number, "train") for number in range(600)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "Demo"
    demo_clips.generate(folder, **COUNTS, workers=1)
    return folder


# Plans


def test_two_kinds_share_at_most_one_look():
    looks = {kind: set(looks) for kind, looks in demo_clips.LOOKS_OF.items()}
    assert all(len(looks[a] & looks[b]) <= 1 for a, b in itertools.combinations(looks, 2))
    assert set.union(*looks.values()) == set(demo_things.LOOKS)


def test_every_event_happens_to_four_kinds_no_two_of_which_have_the_same():
    assert set(demo_clips.EVENTS_OF) == set(demo_things.KINDS)
    assert len({frozenset(events) for events in demo_clips.EVENTS_OF.values()}) == len(demo_things.KINDS)
    for event in demo_events.EVENTS:
        assert sum(event in events for events in demo_clips.EVENTS_OF.values()) == 4


def test_things_of_a_scene_differ_and_stay_in_the_frame_apart(plans):
    assert {len(clip.scene.things) for clip in plans} == {2, 3}
    for clip in plans:
        scene = clip.scene
        for field in ("kind", "look", "event"):
            assert len({getattr(t, field) for t in scene.things}) == len(scene.things)
        for t in scene.things:
            assert t.look in demo_clips.LOOKS_OF[t.kind] and t.event in demo_clips.EVENTS_OF[t.kind]
            assert 0 < t.start < t.stop < scene.n_frames
            assert all(t.radius <= value <= SIZE - t.radius for point in t.path for value in point)
        for a, b in itertools.combinations(scene.things, 2):
            for end in (0, 1):
                assert np.hypot(*np.subtract(a.path[end], b.path[end])) > a.radius + b.radius


def test_every_word_occurs_in_every_part_of_the_frame_and_of_the_clip(plans):
    quarters, thirds = set(), set()
    for clip in plans:
        for t in clip.scene.things:
            x, y = np.mean(t.path, axis=0)
            touched = {3 * frame // clip.scene.n_frames for frame in range(t.start, t.stop)}
            for word in (t.kind, t.look, t.event):
                quarters.add((word, x < SIZE / 2, y < SIZE / 2))
                thirds.update((word, third) for third in touched)
    assert len(quarters) == 4 * len(demo_clips.WORD_CLASSES)
    assert len(thirds) == 3 * len(demo_clips.WORD_CLASSES)


def test_a_clip_depends_on_seed_and_number_alone():
    first, again, other_seed, other_number = (
        demo_clips.plan_clip("", seed, number, "train") for seed, number in ((3, 5), (3, 5), (4, 5), (3, 6))
    )
    assert (first.scene, first.captions) == (again.scene, again.captions)
    assert first.rng.integers(1 << 60) == again.rng.integers(1 << 60)
    assert first.scene != other_seed.scene and first.scene != other_number.scene


# Captions


def test_captions_of_two_things_at_the_same_time():
    scene = Scene(36, (thing(start=10, stop=26), thing("car", "blue", "spins", start=25, stop=34)))
    captions = demo_clips.write_captions(scene, np.random.default_rng(0))
    both_and = {"a red house burns and a blue car spins", "a blue car spins and a red house burns"}
    assert len(captions) == len(set(captions)) == 7
    assert set(captions) - both_and == {
        "a red house burns while a blue car spins",
        "a blue car spins while a red house burns",
        "a house burns while a car spins",
        "a car spins while a house burns",
        "there is a red house and a blue car",
        "there is a blue car and a red house",
    }
    assert " while " in captions[0] and "red" in captions[0]


def test_captions_of_two_things_one_after_the_other_have_no_while():
    scene = Scene(36, (thing(start=2, stop=18), thing("car", "blue", "spins", start=18, stop=34)))
    captions = demo_clips.write_captions(scene, np.random.default_rng(0))
    assert len(captions) == len(set(captions)) == 6
    assert not any("while" in caption.split() for caption in captions)


def test_while_needs_an_overlap_of_the_first_thing_with_all_others():
    things = (thing(start=2, stop=18), thing("car", "blue", "spins", 16, 32), thing("drum", "green", "freezes", 18, 34))
    captions = [
        caption
        for seed in range(20)
        for caption in demo_clips.write_captions(Scene(36, things), np.random.default_rng(seed))
    ]
    with_while = {caption.split()[2] for caption in captions if "while" in caption.split() and "red" in caption}
    assert with_while == {"car"}  # the house burns and is over before the drum freezes


def test_captions_are_short_known_and_lower_case(plans):
    known = {"a", "and", "while", "there", "is", *demo_clips.WORD_CLASSES}
    assert {word for clip in plans for caption in clip.captions for word in caption.split()} == known
    assert all(6 <= len(set(clip.captions)) == len(clip.captions) <= 8 for clip in plans)
    assert max(len(caption.split()) for clip in plans for caption in clip.captions) <= 20


# Drawing


def test_mask_has_the_size_and_place_of_the_thing():
    _, masks = draw(thing("clock", event="freezes", start=30, stop=36))
    assert masks[0, 0].sum() == pytest.approx(np.pi * 40**2, rel=0.01)  # a clock is round
    assert np.argwhere(masks[0, 0]).mean(axis=0) == pytest.approx([127.5, 127.5], abs=0.2)  # between pixels 127 and 128


def test_mask_is_where_the_frame_shows_the_thing():
    frames, masks = draw(thing("butterfly", event="freezes", start=30, stop=36))
    pixels = frames[0].astype(int)
    red = pixels[..., 0] - pixels[..., 1:].max(axis=-1) > 60
    assert (red & masks[0, 0]).sum() > 0.8 * masks[0, 0].sum()  # all but its body
    assert (red & masks[0, 0]).sum() > 0.98 * red.sum()


def test_mask_follows_the_path():
    _, masks = draw(thing("clock", event="freezes", start=30, stop=36, path=((60.0, 80.0), (200.0, 150.0))))
    for t, expected in ((0, (60, 80)), (18, (132, 116))):  # 18 of 35 steps
        y, x = np.argwhere(masks[t, 0]).mean(axis=0) + 0.5
        assert (x, y) == pytest.approx(expected, abs=0.5)


def test_a_thing_in_front_hides_the_one_behind():
    behind, before = thing("house", "red", "burns", 20, 34), thing("drum", "blue", "spins", 20, 34)
    before = dataclasses.replace(before, path=((150.0, 128.0), (150.0, 128.0)))
    _, masks = draw(behind, before)
    _, alone = draw(behind)
    _, before_alone = draw(before)
    assert (alone[0, 0] & before_alone[0, 0]).sum() > 500
    np.testing.assert_array_equal(masks[0, 1], before_alone[0, 0])
    np.testing.assert_array_equal(masks[0, 0], alone[0, 0] & ~before_alone[0, 0])


def test_appears_and_vanishes():
    _, appears = draw(thing(event="appears", start=10, stop=22))
    _, vanishes = draw(thing(event="vanishes", start=10, stop=22))
    assert not appears[:11].any() and not vanishes[21:].any()
    np.testing.assert_array_equal(appears[22:], vanishes[:1].repeat(14, axis=0))
    assert vanishes[0].any()


@pytest.mark.parametrize("verb", demo_events.EVENTS)
def test_an_event_leaves_its_thing_alone_before_and_after(verb):
    poses = {u: demo_events.EVENTS[verb].pose(u, 1) for u in (0.0, 0.5, 1.0)}
    layers = {u: [layer.opacity for layer in (pose.behind, pose.before) if layer] for u, pose in poses.items()}
    assert max(layers[0.0] + layers[1.0]) == 0 and max(layers[0.5]) > 0.3
    assert [poses[u].opacity for u in (0.0, 1.0)] == {"appears": [0, 1], "vanishes": [1, 0]}.get(verb, [1, 1])
    for u in (0.0, 1.0):
        assert poses[u].whiteness == 0
        assert np.cos(poses[u].angle) == pytest.approx(1)
        assert poses[u].scale == 1 or poses[u].opacity == 0


# On disk


@pytest.mark.slow
def test_layout_is_that_of_msr_vtt(folder):
    config = dataclasses.replace(cfg.DATASETS["Demo"], data_dir=str(folder))
    clips = annotations.read_media(config)
    assert {medium.id: medium.split for medium in clips.values()} == {
        "video0": "train",
        "video1": "train",
        "video2": "validate",
        "video3": "test",
    }
    assert all(medium.path.exists() and 6 <= len(medium.captions) <= 8 for medium in clips.values())
    info = json.loads((folder / "train_val_videodatainfo.json").read_text())
    assert [sentence["sen_id"] for sentence in info["sentences"]] == list(range(len(info["sentences"])))
    assert set(info["videos"][0]) == {"video_id", "split", "start time", "end time", "id", "category", "url"}


@pytest.mark.slow
def test_truth_fits_the_video_and_the_captions(folder):
    for number, part in enumerate(("TrainValVideo", "TrainValVideo", "TrainValVideo", "TestVideo")):
        video = media.probe(folder / part / f"video{number}.mp4")
        truth = demo_clips.load_truth(folder, f"video{number}")
        assert truth.masks.dtype == bool
        assert truth.masks.shape == (len(truth.things), video.n_frames, video.height, video.width)
        assert video.fps == pytest.approx(demo_clips.FPS)
        plan = demo_clips.plan_clip(folder, 0, number, "train")
        words = {word for word in plan.captions[0].split() if word in demo_clips.WORD_CLASSES}
        assert words == {word for t in truth.things for word in (t.kind, t.look, t.event)}
        assert all(0 < t.start < t.stop < video.n_frames for t in truth.things)
        drawn = [masks for _, masks in demo_scenes.render(plan.scene, plan.rng)]
        np.testing.assert_array_equal(truth.masks, np.stack(drawn, axis=1))


def test_a_word_names_its_things():
    things = [demo_clips.NamedThing("owl", "red", "burns", 2, 9), demo_clips.NamedThing("drum", "green", "spins", 3, 8)]
    truth = demo_clips.SceneTruth(np.zeros((2, 12, 8, 8), bool), things)
    assert [demo_clips.word_things(truth, word) for word in ("owl", "green", "spins", "while")] == [[0], [1], [1], []]
    assert [demo_clips.WORD_CLASSES[word] for word in ("owl", "green", "spins")] == ["noun", "look", "verb"]


@pytest.mark.slow
def test_only_what_is_missing_is_drawn_again(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "Demo")
    videos = sorted(copy.glob("*/video*.mp4"))
    before = {path: path.stat().st_mtime_ns for path in [*videos, *copy.glob("masks/*.npz")]}
    contents = {path: path.read_bytes() for path in before}
    (copy / "TestVideo" / "video3.mp4").unlink()
    (copy / "masks" / "video1.npz").write_bytes(b"half a file")
    demo_clips.generate(copy, **COUNTS, workers=1)
    drawn = {path.stem for path in before if path.stat().st_mtime_ns != before[path]}
    assert drawn == {"video1", "video3"}
    assert all(path.read_bytes() == contents[path] for path in contents)


@pytest.mark.slow
def test_workers_change_nothing_and_another_seed_everything(folder, tmp_path):
    demo_clips.generate(tmp_path / "two", **COUNTS, workers=2)
    for path in folder.rglob("*.*"):
        if path.suffix != ".mp4":  # what the encoder makes of the same frames is its own affair
            assert (tmp_path / "two" / path.relative_to(folder)).read_bytes() == path.read_bytes()
    frames = [next(media.read_frames(root / "TestVideo" / "video3.mp4")) for root in (folder, tmp_path / "two")]
    np.testing.assert_array_equal(*frames)


@pytest.mark.slow
def test_another_seed_draws_other_clips_in_the_same_folder(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "Demo")
    demo_clips.generate(copy, seed=1, **COUNTS, workers=1)
    for number in range(4):
        things = [demo_clips.load_truth(root, f"video{number}").things for root in (folder, copy)]
        assert things[0] != things[1]


def test_errors(tmp_path):
    with pytest.raises(UserError, match=r"video7\.npz is missing"):
        demo_clips.load_truth(tmp_path, "video7")
    with pytest.raises(UserError, match="every split needs a clip"):
        demo_clips.generate(tmp_path, n_test=0)
    with pytest.raises(UserError, match="the seed -1 is negative"):
        demo_clips.generate(tmp_path, seed=-1)
    (tmp_path / "test_videodatainfo.json").write_text("{}")
    with pytest.raises(UserError, match="another data set"):
        demo_clips.generate(tmp_path, **COUNTS)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        demo_clips.generate(tmp_path / "file", **COUNTS)


@pytest.mark.parametrize(
    "name, content, reason",
    [
        ("shape", np.zeros(10**6, np.uint8), "shape: shape 1000000, where 4 is needed"),
        ("words", np.zeros((10**5, 3), "U1"), "words: shape 100000x3, where 1x3 is needed"),
        ("intervals", np.zeros(5), "intervals: shape 5, where 1x2 is needed"),
    ],
)
def test_masks_that_hold_more_than_they_should_are_not_unpacked(tmp_path, name, content, reason):
    """An array as a Python list is some hundred times as large."""
    sound = {
        "shape": (1, 2, 2, 2),
        "bits": np.zeros(1, np.uint8),
        "words": [["a", "b", "c"]],
        "intervals": [[0, 1]],
    }
    (tmp_path / "masks").mkdir()
    np.savez(tmp_path / "masks/video7.npz", **sound)
    assert demo_clips.load_truth(tmp_path, "video7").things[0].kind in "abc"
    np.savez(tmp_path / "masks/video7.npz", **{**sound, name: content})
    with pytest.raises(UserError, match=reason):
        demo_clips.load_truth(tmp_path, "video7")


def test_command_line():
    asked = subprocess.run(
        [sys.executable, "-m", "datasets.demo.clips", "--folder", "nowhere", "--n_train", "0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (asked.returncode, asked.stdout) == (2, "")
    assert asked.stderr.startswith("clips.py: error: ") and asked.stderr.count("\n") == 1
