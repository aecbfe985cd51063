"""The program from Python: the five lines, what a result holds, and environments that are not ours."""

import html
import itertools
import os
import re
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import caption_saliency
import saliency
from explain import attribution, explainer
from system import rows
from system.errors import UserError
from tests import make_media
from vision import media, writing
from vision.excerpt import Excerpt

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]
COARSE = ("saliency_input_size=128", "beam_size=1")  # 4 x 4 cells


@pytest.fixture(scope="module")
def explain():
    return caption_saliency.load(settings=COARSE)


@pytest.fixture(scope="module")
def photograph(tmp_path_factory):
    return make_media.write_picture(tmp_path_factory.mktemp("media") / "dog.png", 60, 90)


@pytest.fixture(scope="module")
def clip(photograph):
    frames = np.random.default_rng(1).integers(0, 256, (7, 32, 48, 3), np.uint8)
    writing.write_video(photograph.with_name("clip.mp4"), frames, 12)
    return photograph.with_name("clip.mp4")


def test_a_photograph(explain, photograph):
    result = explain(photograph, "a dog runs on the beach")
    assert result.words == ["a", "dog", "runs", "on", "the", "beach"]
    assert result.raw_maps.shape == result.maps.shape == (1, 6, 4, 4)
    np.testing.assert_array_equal(result.maps, saliency.normalize_linear(result.raw_maps))
    assert (result.box, result.curves, result.is_video) == ((0, 0, 60, 90), None, False)
    picture = result.picture()
    assert picture.mode == "RGB" and picture.width > 90
    result.write(photograph.with_suffix(".npz"))
    with np.load(photograph.with_suffix(".npz")) as arrays:
        np.testing.assert_array_equal(arrays["raw_maps"], result.raw_maps)
        np.testing.assert_array_equal(arrays["log_q"], result.log_q)
        np.testing.assert_array_equal(arrays["log_q"] - arrays["grey_log_q"], result.gain)


def test_many_media_at_once_are_what_each_is_alone(explain, photograph, clip, tmp_path):
    """To the last bit, whether each is captioned or asked for a sentence; what cannot be read is left out."""
    (tmp_path / "broken.png").write_bytes(b"nothing")
    wide = make_media.write_picture(tmp_path / "wide.png", 40, 120)
    paths = [photograph, tmp_path / "broken.png", clip, wide]
    for sentence in (None, "a dog runs"):
        query = None if sentence is None else explain.query(sentence)
        for path, sight in explain.see_many(paths, captioned=query is None):
            if path.name == "broken.png":
                assert "broken.png" in str(sight)
                continue
            (one,), alone = explain.explain(sight, [query]), explain(path, sentence)
            assert one.query.sentence == alone.query.sentence and one.path == path
            for name in ("raw_maps", "maps", "log_q", "grey_log_q", "curves"):
                np.testing.assert_array_equal(getattr(one, name), getattr(alone, name))


def test_the_maps_of_a_film_are_those_of_a_clip(explain, clip, monkeypatch, tmp_path):
    """On the disk as in memory, in every form that is written."""
    options = {"sentence": "a dog runs", "normalization": ("released", "linear")}
    short = explain(clip, **options)
    monkeypatch.setattr(rows, "IN_MEMORY", 0)
    monkeypatch.setattr(rows, "AT_ONCE", 2 * short.raw_maps[0].nbytes)  # two frames
    long = explain(clip, **options)
    for one, other in ((short, long), *zip(short.also, long.also, strict=True)):
        assert other.raw_maps.is_on_disk and other.maps.is_on_disk
        np.testing.assert_array_equal(one.raw_maps, np.asarray(other.raw_maps))
        np.testing.assert_array_equal(one.maps, np.asarray(other.maps))
    for form in ("png", "mp4", "html"):
        written = [tmp_path / f"{name}.{form}" for name in ("short", "long")]
        for one, path in zip((short, long), written, strict=True):
            one.write(path)
        assert written[0].read_bytes() == written[1].read_bytes()
    long.write(tmp_path / "long.npz")
    with np.load(tmp_path / "long.npz") as arrays:
        np.testing.assert_array_equal(arrays["raw_maps"], short.raw_maps)
        np.testing.assert_array_equal(arrays["maps"], short.maps)
        assert arrays["start"] == 0


@pytest.mark.parametrize("normalization", ["linear", "released", ("linear", "released")])
def test_what_the_cnn_saw_of_a_clip_is_let_go(explain, photograph, monkeypatch, normalization):
    """However long it is: of the frames that passed hardly any is left when the next ones come."""
    frames = np.random.default_rng(2).integers(0, 256, (40, 32, 48, 3), np.uint8)
    writing.write_video(photograph.with_name("long.mp4"), frames, 12)
    cells, seen, most = explain.captioner.cells, [], 0

    def watched(pictures, multi_scale=False):
        nonlocal most
        most = max(most, sum(one() is not None for one in seen))
        seen.append(weakref.ref(grids := cells(pictures, multi_scale)))
        return grids

    monkeypatch.setattr(explain.captioner, "cells", watched)
    monkeypatch.setattr(explain, "frames_at_once", 1)
    explain(photograph.with_name("long.mp4"), "a dog runs", normalization=normalization)
    assert len(seen) == 40 and most <= 3


def test_a_part_of_a_clip(explain, clip, photograph):
    """Its frames have the maps that they have in the whole, where no neighbour is looked at."""
    whole = explain(clip, "a dog runs", normalization="linear")
    part = explain(Excerpt(clip, start=2 / 12, every=2), "a dog runs", normalization="linear")
    np.testing.assert_array_equal(part.raw_maps, whole.raw_maps[2::2])
    assert part.fps == pytest.approx(6)
    with pytest.raises(UserError, match=r"dog\.png is an image: --start, --end and --every are of videos"):
        explain(Excerpt(photograph, every=2), "a dog runs")


def test_log_q_is_that_of_the_whole_picture(explain, photograph):
    """Of a given sentence and of the captioner's own, which is the likelier one."""
    given, own = explain(photograph, "a dog runs"), explain(photograph)
    assert given.log_q.shape == (3,) and (given.log_q < 0).all()
    assert own.query.is_own and own.log_q.mean() > given.log_q.mean()
    again = explain(photograph, own.query.sentence)
    np.testing.assert_allclose(again.log_q, own.log_q, atol=1e-5)
    with pytest.raises(caption_saliency.UserError, match="does not know 'xyzzy'"):
        explain(photograph, "a xyzzy runs")


def test_the_gain_is_what_the_picture_adds(photograph, explain):
    """Nothing where the picture is grey; of another one what integrated gradients divide among the cells."""
    grey = photograph.with_name("grey.png")
    Image.new("RGB", (64, 64), (128, 128, 128)).save(grey)
    for sentence in ("a dog runs", None):
        np.testing.assert_allclose(explain(grey, sentence).gain, 0, atol=1e-4)
    divided = caption_saliency.load(method="integrated_gradients", settings=("saliency_input_size=256",))
    result = divided(photograph, "a dog runs on the beach")
    assert abs(result.gain).max() > 0.1
    np.testing.assert_allclose(result.raw_maps.sum(axis=(2, 3))[0], result.gain, rtol=0.15, atol=0.05)  # in 32 steps


def test_why_this_word_and_not_that(explain, photograph, clip, tmp_path):
    """By the paper's method the difference of two maps; its words before the one that is asked for are the same."""
    dog, cat = (explain(photograph, f"a {animal} runs") for animal in ("dog", "cat"))
    result = explain(photograph, "a dog runs", instead="dog=cat")
    assert result.words == ["dog, not cat"]
    np.testing.assert_allclose(result.raw_maps[:, 0], dog.raw_maps[:, 1] - cat.raw_maps[:, 1], atol=1e-4)
    np.testing.assert_allclose(result.log_q, [dog.log_q[1] - cat.log_q[1]], atol=1e-4)
    np.testing.assert_allclose(result.gain, [dog.gain[1] - cat.gain[1]], atol=1e-4)
    result.write(tmp_path / "x.png")
    own = explain(photograph, instead="zebra")
    assert len(own.words) == own.raw_maps.shape[1] == len(own.query.words)
    moving = explain(clip, "a dog runs", instead="runs=sleeps")
    assert moving.curves.shape == (7, 1) and moving.raw_maps.shape == (7, 1, 4, 4)
    moving.write(tmp_path / "x.mp4")
    with pytest.raises(caption_saliency.UserError, match="does not know 'xyzzy'"):
        explain(photograph, "a dog runs", instead="dog=xyzzy")


def test_large_frames_are_drawn_from_smaller_ones(explain, clip, monkeypatch):
    """So that 8K does not take gigabytes: no tile shows so much."""
    result = explain(clip, "a dog runs", normalization="linear")
    whole, sizes = result.picture(), []
    monkeypatch.setattr(media, "DRAWN_PIXELS", 32 * 48 // 4)
    read_frames = media.read_frames
    monkeypatch.setattr(media, "read_frames", lambda *given: sizes.append(given[2]) or read_frames(*given))
    smaller = result.picture()
    assert sizes == [(24, 16)] and smaller.size == whole.size
    difference = np.asarray(smaller, float) - np.asarray(whole, float)
    assert 0 < abs(difference).mean() < 20  # noise, blurred


def test_a_clip(explain, clip, tmp_path):
    result = explain(str(clip), "a dog runs", normalization="linear")
    assert result.raw_maps.shape == (7, 3, 4, 4) and result.curves.shape == (7, 3)
    assert result.fps == pytest.approx(12)
    assert result.picture().height > 100
    result.write(tmp_path / "x.mp4")
    assert media.probe(tmp_path / "x.mp4").n_frames == 7
    result.write(tmp_path / "x.GIF")
    assert media.kind(tmp_path / "x.GIF") == "video"
    for name in ("x.avi", "x"):
        with pytest.raises(caption_saliency.UserError, match="whose picture is mp4 or gif or png or html or npz, not "):
            result.write(tmp_path / name)


def test_several_sentences_see_a_clip_once(explain, clip, monkeypatch):
    """They are explained as each alone is, and the CNN sees every frame once."""
    alone = [explain(clip, sentence) for sentence in ("a dog runs", "the beach")]
    seen, extractor = [], explain.captioner.extractor()

    class Counting:
        input_size, weights_id = extractor.input_size, extractor.weights_id

        def __call__(self, frames):
            seen.append(len(frames))
            return extractor(frames)

    monkeypatch.setitem(explain.captioner._extractors, False, Counting())
    together = explain.explain(clip, [explain.query("a dog runs"), explain.query("the beach")])
    assert seen == [7]
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.raw_maps, other.raw_maps)
        np.testing.assert_array_equal(one.curves, other.curves)


@pytest.mark.parametrize("medium", ["clip", "photograph"])
def test_several_methods_and_normalizations_are_each_as_alone(request, explain, medium):
    path = request.getfixturevalue(medium)
    methods, normalizations = ("single_descriptor", "leave_one_out", "best"), ("linear", "released")
    several = explainer.Explainer(explain.captioner, methods)(path, "a dog runs", normalization=normalizations)
    views = several, *several.also
    assert [(one.method, one.normalization) for one in views] == list(itertools.product(methods, normalizations))
    for one in views:
        alone = explainer.Explainer(explain.captioner, one.method)(path, "a dog runs", normalization=one.normalization)
        assert alone.also == ()
        for name in ("raw_maps", "maps", "log_q", "grey_log_q", "curves"):
            np.testing.assert_array_equal(getattr(one, name), getattr(alone, name))
    smoothed, plain = views[1].raw_maps, views[0].raw_maps
    assert np.array_equal(smoothed, plain) == (medium == "photograph")


def test_frames_are_counted_while_maps_are_computed(explain, clip, capsys):
    told = []
    explain.explain(clip, [explain.query("a dog")], progress=lambda *counted: told.append(counted))
    assert told[-1] == (7, 7) and capsys.readouterr().err == ""


def test_a_notebook_shows_the_page(explain, photograph):
    result = explain(photograph, "a <dog> runs", unknown="skip")
    assert result.page().startswith("<!doctype html>")
    assert html.unescape(re.search('srcdoc="([^"]*)"', result._repr_html_())[1]) == result.page()


def test_an_image_is_no_video(explain, photograph, tmp_path):
    with pytest.raises(caption_saliency.UserError, match=r"dog.png is an image, whose picture is png or html"):
        explain(photograph, "a dog").write(tmp_path / "x.mp4")


def test_choices_are_told_before_the_work(explain, photograph):
    with pytest.raises(caption_saliency.UserError, match="normalization='log': it must be one of None, 'linear', 'rel"):
        explain(photograph, "a dog", normalization="log")
    with pytest.raises(caption_saliency.UserError, match="unknown='guess': it must be one of 'error', 'skip', 'near"):
        explain(photograph, "a xyzzy", unknown="guess")


def test_another_package_of_the_same_name_is_told(tmp_path, monkeypatch):
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets/__init__.py").touch()
    for name in [name for name in sys.modules if name.split(".")[0] == "datasets"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        caption_saliency.UserError, match=r"another package called 'datasets' .*: put .* into PYTHONPATH"
    ):
        caption_saliency.load()


def test_another_method(photograph):
    result = caption_saliency.load(method="leave_one_out", settings=COARSE[0])(photograph, "a dog")
    assert result.method == "leave_one_out" and result.raw_maps.shape == (1, 2, 4, 4)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"method": "leave_two_out"}, f"no method 'leave_two_out'; choose from {', '.join(attribution.METHODS)}"),
        ({"experiment": "nowhere"}, "there is no checkpoint in nowhere"),
        ({"checkpoint": 7}, "has no checkpoint 7; there are"),
        ({"settings": ["dim_hidden=3"]}, "'dim_hidden' is fixed by the checkpoint"),
    ],
)
def test_what_cannot_be_loaded_is_told(arguments, message):
    with pytest.raises(caption_saliency.UserError, match=message):
        caption_saliency.load(**arguments)


def test_environments_that_are_not_ours(tmp_path, photograph):
    """In an empty folder, with a notebook's MPLBACKEND and other defaults of Keras: the same numbers."""
    (tmp_path / ".keras").mkdir()
    (tmp_path / ".keras/keras.json").write_text('{"floatx": "float16", "image_data_format": "channels_first"}')
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import caption_saliency\n"
        "assert 'tensorflow' not in sys.modules\n"
        f"result = caption_saliency.load(settings={COARSE!r})({str(photograph)!r}, 'a dog runs')\n"
        "result.write('maps.npz')\n"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "MPLBACKEND": "nonsense"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    expected = caption_saliency.load(settings=COARSE)(photograph, "a dog runs")
    with np.load(tmp_path / "maps.npz") as arrays:
        np.testing.assert_array_equal(arrays["raw_maps"], expected.raw_maps)
