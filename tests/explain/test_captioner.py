"""What is asked of a captioner, of the one in docs/captioners.md."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from explain import attribution, explainer
from system.errors import UserError
from tests import make_media

DOCS = Path(__file__).resolve().parents[2] / "docs/captioners.md"


@pytest.fixture
def painter(tmp_path, monkeypatch):
    """What the document defines, and its picture: red on the left, blue on the right."""
    monkeypatch.chdir(tmp_path)
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[:, :40, 0], picture[:, 40:, 2] = 255, 255
    Image.fromarray(picture).save("picture.png")
    names = {}
    for block in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL):
        exec(block, names)
    return names


def test_the_captioner_of_the_document(painter, tmp_path):
    result = painter["result"]
    assert (tmp_path / "picture.html").exists() and result.words == ["red"]
    for one in (result, *result.also):
        assert one.raw_maps.shape == (1, 1, 8, 8)
        assert one.maps[0, 0, :, :4].min() > one.maps[0, 0, :, 4:].max()
    assert result.gain[0] > 0.1
    own = explainer.Explainer(painter["Painter"]())("picture.png")
    assert own.query.sentence in ("red", "blue")


def test_every_method_that_it_can_answer(painter):
    scene = painter["Painter"]().scene(np.random.default_rng(0).random((8, 8, 3)).astype(np.float32))
    answered = []
    for name, method in attribution.METHODS.items():
        try:
            assert method(scene, [0, 2]).shape == (2, 8, 8)
            answered.append(name)
        except UserError as error:
            assert "has no gradients" in str(error)
    assert answered == ["single_descriptor", "single_minus_blank", "leave_one_out", "rise"]


def test_a_clip(painter, tmp_path):
    clip = make_media.write_video(tmp_path / "clip.mp4", make_media.noise_frames(3, 48, 64), fps=5)
    result = explainer.Explainer(painter["Painter"]()).explain(
        explainer.Sight(clip, np.zeros((1, 8, 8, 3), np.float32), 48, 64, (0, 0, 48, 64), n_frames=3, fps=5.0),
        [painter["Painter"]().query("red blue")],
        progress=lambda *_: None,
    )[0]
    assert result.raw_maps.shape == (3, 2, 8, 8) and result.curves.shape == (3, 2)


def test_what_a_captioner_lacks_is_told_when_it_is_made(painter):
    class Silent(painter["Captioner"]):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Silent()
    with pytest.raises(UserError, match="a painter does not say which of its words belong to a phrase"):
        painter["Painter"]().phrase_steps(("red",), [])
