"""What is asked of media on the bench, without a browser."""

import numpy as np
import pytest
from PIL import Image

import caption_saliency
from explain import page, s2vt_scene, workbench
from system.errors import UserError
from tests import make_media
from vision import geometry

pytestmark = pytest.mark.slow


def silent(*_):
    pass


@pytest.fixture(scope="module")
def explain():
    return caption_saliency.load(settings=("saliency_input_size=224", "beam_size=3"))


@pytest.fixture
def bench(explain, tmp_path):
    return workbench.Workbench(explain, tmp_path)


def lay(bench, name="dog.png", seed=0):
    path = bench.new_path(name)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (60, 90, 3), np.uint8)).save(path, "PNG")
    return bench.lay(path, name, silent)


def test_a_picture_has_its_captions(bench, explain):
    found = lay(bench, "a/../b.PNG")
    assert (found["medium"], found["is_video"], found["kind"]) == ("a/../b.PNG", False, "image/jpeg")
    scores = [one["score"] for one in found["captions"]]
    assert len(scores) == 3 and scores == sorted(scores, reverse=True)
    path, shown = sorted(bench.folder.iterdir())
    assert path.name == f"{found['id']}.png" and shown == bench.laid(found["id"]).shown
    assert explain(path).query.sentence == found["captions"][0]["sentence"]


def test_maps_are_those_of_the_command(bench, explain):
    found = lay(bench)
    answer = bench.explain(found["id"], "a dog", "error", "cat", silent)
    one = explain(bench.laid(found["id"]).sight.path, "a dog", instead="cat")
    about = answer["about"]
    assert (about["words"], about["medium"]) == (["a, not cat", "dog, not cat"], "dog.png")
    np.testing.assert_allclose(about["log_q"], one.log_q, atol=1e-3)
    np.testing.assert_allclose(about["views"][0]["low"], one.raw_maps.min(axis=(0, 2, 3)), rtol=1e-6)
    assert bench.explain(found["id"], None, "error", None, silent)["about"]["is_own"]


@pytest.mark.parametrize("rectangle", [(0.25, 0.5, 1, 0.9), (0, 0, 1, 1), (0.5, 0.5, 0.5001, 0.5001)])
def test_covering_is_the_mask_of_equation_10(bench, explain, rectangle):
    found = lay(bench)
    answer = bench.cover(found["id"], "a dog runs", "error", None, rectangle)
    captioner, query = explain.captioner, explain.query("a dog runs")
    sight, grey = bench.laid(found["id"]).sight, captioner.grey_cells_to_caption()
    cells, saved = sight.cells[0], captioner.saved
    box = [side / of for side, of in zip(sight.box, (60, 90) * 2, strict=True)]
    covered = geometry.shares_covered(rectangle, box, *cells.shape[:2])
    scene = s2vt_scene.S2VTScene(saved.model, cells, grey, saved.config.pyramid_levels)
    expected = scene.log_q([np.ones(covered.size), 1 - covered.ravel()], query.ids)  # [2, T]
    assert answer["words"] == ["a", "dog", "runs"]
    np.testing.assert_allclose(answer["log_q"], expected, atol=0.01)  # what is read is of 16 bits
    assert answer["captions"][0] == found["captions"][0]["sentence"]
    if rectangle == (0, 0, 1, 1):
        assert answer["captions"][1] == captioner.captions(grey[None])[0][0]
        np.testing.assert_allclose(answer["log_q"][1], captioner.log_q(grey[None], query), atol=0.01)
    if rectangle[0] == rectangle[1] == 0.5:
        assert answer["captions"][1] == answer["captions"][0]


def test_a_clip_is_covered_in_every_frame(bench, explain):
    path = bench.new_path("clip.mp4")
    make_media.write_video(path, make_media.noise_frames(7, 48, 64), fps=12)
    found = bench.lay(path, "clip.mp4", silent)
    assert found["is_video"] and found["kind"] == "video/mp4"
    answer = bench.cover(found["id"], "a dog", "error", None, (0, 0, 1, 1))
    grey = explain.captioner.log_q(explain.captioner.grey_cells_to_caption()[None], explain.query("a dog"))
    np.testing.assert_allclose(answer["log_q"][1], grey, atol=0.01)
    counted = []
    bench.explain(found["id"], "a dog", "error", None, lambda *one: counted.append(one))
    assert counted[-1] == (7, 7)


def test_a_clip_that_is_too_long_is_not_begun(bench, monkeypatch):
    monkeypatch.setattr(page, "MOST_FRAMES", 6)
    path = bench.new_path("clip.mp4")
    make_media.write_video(path, make_media.noise_frames(7, 48, 64), fps=12)
    with pytest.raises(UserError, match=r"clip\.mp4 has 7 frames, more than 6: give it to visualization\.py"):
        bench.lay(path, "clip.mp4", silent)


def test_errors_speak_of_the_owners_names(bench):
    path = bench.new_path("x.jpg")
    path.write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"^holiday\.jpg(?!.*pytest)") as told:
        bench.lay(path, "holiday.jpg", silent)
    assert str(bench.folder) not in str(told.value)
    found = lay(bench)
    with pytest.raises(UserError, match="does not know 'xyzzy'") as told:
        bench.explain(found["id"], "a xyzzy dogg", "error", None, silent)
    assert list(told.value.near) == ["xyzzy", "dogg"] and "dog" in told.value.near["dogg"]


def test_the_oldest_medium_makes_room(bench, monkeypatch):
    monkeypatch.setattr(workbench, "MOST_MEDIA", 2)
    ids = [lay(bench, seed=seed)["id"] for seed in range(3)]
    assert {path.stem for path in bench.folder.iterdir()} == set(ids[1:])  # of each two files
    with pytest.raises(UserError, match="no longer on the bench"):
        bench.cover(ids[0], "a dog", "error", None, (0, 0, 1, 1))


def test_work_ends_where_nobody_listens(bench):
    class Gone(Exception):
        pass

    def stop(done, total):
        if done:
            raise Gone

    path = bench.new_path("x.mp4")
    make_media.write_video(path, make_media.noise_frames(7, 48, 64), fps=12)
    with pytest.raises(Gone):
        bench.lay(path, "x.mp4", stop)
    assert not bench.media


NAMES = {"x.JPG": ".jpg", "x": "", "../../x.sh/y": "", "x.\u0444": "", "x.toolong": "", ".mp4": ".mp4"}


@pytest.mark.parametrize("name, ending", NAMES.items(), ids=ascii)
def test_of_a_name_only_the_ending_is_believed(bench, name, ending):
    path = bench.new_path(name)
    assert path.parent == bench.folder and path.suffix == ending
