"""The page of an explanation: what is in the file, and what a browser makes of it."""

import base64
import dataclasses
import hashlib
import html
import io
import json
import re
import zlib

import numpy as np
import pytest
from PIL import Image

import cfg
from explain import index_page, page, render
from explain.explanation import Explanation
from explain.query import Query
from tests.browser import assert_heat, drawn, needs_chromium
from vision import media, writing

HOSTILE = "</script><script>document.title = 'taken'</script><img src=x onerror=alert(1)> \u202ertl & \"quotes\" 🐕"
N_FRAMES, FPS = 12, 8
BITS = 4  # of a frame's number, as black and white blocks along its upper edge


def explanation(path, words, n_frames=None, sentence="a dog runs", box=None, size=(48, 64)):
    """An Explanation of random maps, of an image or of a clip of n_frames."""
    rng = np.random.default_rng(0)
    shape = (n_frames or 1, len(words), 4, 6)
    raw = rng.normal(-3, 1, shape).astype(np.float32)
    low, high = raw.min(axis=(2, 3), keepdims=True), raw.max(axis=(2, 3), keepdims=True)
    return Explanation(
        path,
        Query(sentence, list(words), list(range(1, 1 + len(words)))),
        raw,
        (raw - low) / (high - low),
        "linear",
        *size,
        box or (0, 0, *size),
        log_q=-np.arange(1.0, 1 + len(words)),
        grey_log_q=-np.arange(1.0, 1 + len(words)) * 2,
        config=cfg.DATASETS["Demo"],
        checkpoint=1,
        curves=rng.normal(0, 1, shape[:2]) if n_frames else None,
        fps=FPS if n_frames else None,
    )


@pytest.fixture
def picture(tmp_path):
    Image.new("RGB", (64, 48), (90, 120, 150)).save(tmp_path / "dog.png")
    return tmp_path / "dog.png"


@pytest.fixture
def clip(tmp_path):
    """Every frame has its number along its upper edge."""
    frames = np.full((N_FRAMES, 48, 64, 3), 100, np.uint8)
    for number, frame in enumerate(frames):
        for bit in range(BITS):
            frame[:16, 16 * bit : 16 * (bit + 1)] = 255 * (number >> bit & 1)
    writing.write_video(tmp_path / "clip.mp4", frames, FPS)
    return tmp_path / "clip.mp4"


def content(text, name):
    return re.search(rf'<script [^>]*id="{name}">(.*?)</script>', text, re.DOTALL)[1]


def test_the_file_has_the_maps_and_lets_nothing_in(picture):
    one = explanation(picture, ["a", HOSTILE], sentence=HOSTILE)
    text = page.text_of(one)
    data = json.loads(content(text, "data"))
    assert (data["sentence"], data["words"], data["medium"]) == (HOSTILE, ["a", HOSTILE], "dog.png")
    np.testing.assert_allclose(data["gain"], one.gain)
    maps = zlib.decompress(base64.b64decode(content(text, "blob-maps-0")))
    n = one.maps.size
    assert len(maps) == 3 * n
    np.testing.assert_allclose(np.frombuffer(maps[:n], np.uint8) / 255, one.maps.ravel(), atol=0.5 / 255 + 1e-6)
    view = data["views"][0]
    raw = np.frombuffer(maps[n:], "<u2").reshape(one.raw_maps.shape) / 65535
    low, high = (np.reshape(view[edge], (1, -1, 1, 1)) for edge in ("low", "high"))
    np.testing.assert_allclose(low + raw * (high - low), one.raw_maps, atol=1e-4)

    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    for element, kind in (("style", "style"), ("script", "script")):
        inside = re.search(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)[1]
        sha = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{sha}'" in policy
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert text.count("<script") == len(re.findall("<script(?: type=| )?[^<]*>", text)) == 5  # none of the sentence's
    assert not re.search(r"<[^>]*\s(src|href)=|https?://|@import|url\(", text)


def test_the_most_salient_frame_is_the_programs(clip):
    """Curves may differ in their last digit alone."""
    one = explanation(clip, ["dog"], N_FRAMES)
    curves = np.full((N_FRAMES, 1), -3.21098, np.float32)
    curves[7] = np.nextafter(curves[7], np.float32(0))
    (found,) = page.about(dataclasses.replace(one, curves=curves))["views"]
    assert np.argmax(found["curves"]) == 7
    np.testing.assert_array_equal(np.array(found["curves"], np.float32), curves)


def test_names_that_are_no_text(picture, tmp_path):
    """A file system's names are bytes."""
    odd = picture.rename(tmp_path / "x\udcff.png")
    written = tmp_path / "x\udcff-a_dog.html"
    one = explanation(odd, ["dog"])
    assert render.write(one, written) is None
    assert json.loads(content(written.read_text(), "data"))["medium"] == "x\udcff.png"
    text = index_page.write([index_page.entry(one, written)] * 2, tmp_path).read_text()
    assert 'href="x%FF-a_dog.html"' in text


def test_a_medium_is_no_larger_than_a_page_needs(tmp_path):
    Image.new("RGB", (3000, 1500), "red").save(tmp_path / "x.png")
    (tmp_path / "y.jpg").write_bytes(page.encoded(explanation(tmp_path / "x.png", ["a"], size=(1500, 3000))))
    assert media.read_image(tmp_path / "y.jpg").shape == (640, 1280, 3)


def test_the_list_of_pages(picture, clip, tmp_path):
    """Their thumbnails are of the frame and word that matter most; names and sentences are text."""
    entries = [
        index_page.entry(explanation(path, ["a", "dog"], n, sentence=sentence), tmp_path / f"<{n}#.html")
        for path, n, sentence in ((picture, None, "a <b>"), (clip, N_FRAMES, HOSTILE))
    ]
    text = index_page.write(entries, tmp_path).read_text()
    assert re.findall('href="([^"]*)"', text) == ["%3CNone%23.html", "%3C12%23.html"]
    assert [html.unescape(one) for one in re.findall("<bdi>(.*?)</bdi>", text)] == [
        *("a <b>", "dog.png"),
        *(HOSTILE, "clip.mp4"),
    ]
    assert len(re.findall("<script|<b>|<img (?!alt)", text)) == 0
    sizes = [Image.open(io.BytesIO(one.thumbnail)).size for one in entries]
    assert sizes == [(240, 180), (240, 180)]


# In a browser


@pytest.fixture
def opened(browser, tmp_path):
    """Open the page of an explanation; at the end nothing was asked for, and nothing complained about."""
    said, asked = [], []

    def show(one, **options):
        render.write(one, tmp_path / "x.html")
        tab = browser.new_page(**options)
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(f"file://{tmp_path / 'x.html'}")
        tab.wait_for_selector("body[data-ready]")
        return tab

    yield show
    assert said == []
    assert [url for url in asked if not url.startswith("blob:")] == [f"file://{tmp_path / 'x.html'}"]


@needs_chromium
@pytest.mark.parametrize("box", [None, (0, 8, 48, 56)])
def test_a_word_shows_its_map(opened, picture, box):
    one = explanation(picture, ["a", "dog", "runs"], box=box)
    tab = opened(one)
    assert tab.evaluate("document.body.dataset.words") == "2"  # it owes most to the picture
    assert_heat(tab, one, 0, 2)
    tab.hover("#words button:nth-child(1)")
    assert_heat(tab, one, 0, 0)
    tab.hover("#told")
    assert_heat(tab, one, 0, 2)
    tab.click("#words button:nth-child(2)")  # what was shown without being held gives way
    tab.click("#words button:nth-child(3)")
    assert tab.evaluate("document.body.dataset.words") == "1 2"
    assert tab.locator("figcaption").all_inner_texts() == ["dog", "runs"]
    for number, word in enumerate((1, 2)):
        assert_heat(tab, one, 0, word, number)
    tab.select_option("#pair", "difference")
    told = "“dog” (red) less “runs” (blue): where the one map is above the other; to “dog” the picture adds 2.00 nats"
    assert tab.inner_text("#told") == f"{told}, to “runs” the picture adds 3.00 nats"
    assert tab.locator("#legend span").all_inner_texts() == ["runs", "dog"]
    before = drawn(tab)
    tab.click("#words button:nth-child(3)")  # let go, and still under the mouse
    assert tab.evaluate("document.body.dataset.words") == "2"
    tab.hover("#told")
    assert abs(drawn(tab) - before).mean() > 5
    assert_heat(tab, one, 0, 1)


@needs_chromium
def test_what_the_picture_adds_is_told(opened, picture):
    one = dataclasses.replace(explanation(picture, ["dog"]), log_q=np.array([-1.724]), grey_log_q=np.array([-12.606]))
    tab = opened(one)
    told = "“dog”: log q \u221212.61 without the picture, \u22121.72 with it: the picture adds 10.89 nats"
    assert tab.inner_text("#told") == told
    assert (
        tab.get_attribute("#words button", "aria-label") == "dog: the picture adds 10.89 nats"
    )  # and not 10.88: it adds up


@needs_chromium
def test_the_difference_of_two_words_by_hand(opened, picture):
    """Red where the first is higher, blue where the second is; no colour where they are equal."""
    one = explanation(picture, ["dog", "cat"])
    maps = np.zeros((1, 2, 1, 3))
    maps[0, :, 0] = [[1, 0.5, 0], [0, 0.5, 1]]
    tab = opened(dataclasses.replace(one, maps=maps, raw_maps=maps, grey_log_q=one.log_q - [2, 1]))
    for word in (1, 2):
        tab.click(f"#words button:nth-child({word})")
    tab.select_option("#pair", "difference")
    canvas = drawn(tab)
    height, width = canvas.shape[:2]
    left, middle, right = (canvas[height // 2, width * k // 6] for k in (1, 3, 5))
    assert left[0] > left[2] + 50 and right[2] > right[0] + 50 and middle.max() < 3


@needs_chromium
def test_methods_and_normalizations_are_chosen(opened, picture):
    one = explanation(picture, ["a", "dog"])
    views = [
        ("single_descriptor", "linear"),
        ("best", "linear"),
        ("single_descriptor", "released"),
        ("best", "released"),
    ]
    own = [
        dataclasses.replace(one, method=method, normalization=normalization, maps=np.roll(one.maps, k, axis=-1))
        for k, (method, normalization) in enumerate(views)
    ]
    fine = np.repeat(own[1].maps, 2, axis=-1)  # other cells
    own[1] = dataclasses.replace(own[1], maps=fine, raw_maps=fine)
    tab = opened(dataclasses.replace(own[0], also=tuple(own[1:])))
    tab.focus("#picture")
    tab.keyboard.press("ArrowDown")
    for view in reversed(own):
        tab.select_option("#method", view.method)
        tab.select_option("#normalization", view.normalization)
        assert_heat(tab, view, 0, 1)
        assert "NaN" not in tab.inner_text("#place")
    assert tab.inner_text("#place") == ""  # what was pointed at is another place now


@needs_chromium
def test_a_large_page_has_its_clip_beside_it(browser, clip, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "LARGEST", 10_000)
    one, folder = explanation(clip, ["dog"], N_FRAMES), tmp_path / "a folder"
    folder.mkdir()
    assert render.write(one, folder / "x#1.html") == folder / "x#1.media.mp4"
    text = (folder / "x#1.html").read_text()
    assert 'id="blob-medium"' not in text
    tab, said = browser.new_page(), []
    tab.on("console", lambda message: said.append(message.text))
    tab.goto((folder / "x#1.html").as_uri())
    tab.wait_for_selector("body[data-ready]")
    tab.keyboard.press(".")
    tab.wait_for_selector("body[data-frame='1']")
    assert_heat(tab, one, 1, 0)
    assert said == [] and tab.evaluate("player.videoWidth") == 64


@needs_chromium
def test_a_notebook_shows_the_page(browser, picture, tmp_path):
    (tmp_path / "notebook.html").write_text(f"<!doctype html>{page.frame(explanation(picture, ['dog', HOSTILE]))}")
    tab, said = browser.new_page(), []
    tab.on("console", lambda message: said.append(message.text))
    tab.goto(f"file://{tmp_path / 'notebook.html'}")
    inside = tab.frame_locator("iframe")
    inside.locator("body[data-ready]").wait_for(state="attached")
    assert inside.locator("#words button").nth(1).text_content() == HOSTILE
    assert inside.locator("img").evaluate("async (image) => { await image.decode(); return image.naturalWidth; }") == 64
    assert said == []


@needs_chromium
def test_the_words_of_a_place(opened, picture):
    one = explanation(picture, ["a", "dog"])
    tab = opened(one)
    box = tab.locator("#heat").bounding_box()
    tab.mouse.move(box["x"] + box["width"] * 2.5 / 6, box["y"] + box["height"] * 1.5 / 4)  # the centre of cell (1, 2)
    rows = tab.locator("#place tr").all_inner_texts()[1:]
    assert [row.split("\t")[0] for row in rows] == ["a", "dog"]
    np.testing.assert_allclose(
        [float(row.split("\t")[-1].replace("\u2212", "-")) for row in rows], one.raw_maps[0, :, 1, 2], atol=0.0051
    )
    tab.focus("#picture")  # the same by keyboard
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowUp", "ArrowLeft"):
        tab.keyboard.press(key)
    assert tab.inner_text("#place caption") == "Here, in row 2, column 4"
    rows = tab.locator("#place tr").all_inner_texts()[1:]
    np.testing.assert_allclose(
        [float(row.split("\t")[-1].replace("\u2212", "-")) for row in rows], one.raw_maps[0, :, 1, 3], atol=0.0051
    )
    mark = tab.locator(".cell").first.bounding_box()
    assert abs(mark["x"] + mark["width"] / 2 - box["x"] - box["width"] * 3.5 / 6) < 1


@needs_chromium
def test_keys_walk_through_words_and_frames(opened, clip):
    one = explanation(clip, ["a", "dog", "runs"], N_FRAMES)
    tab = opened(one, viewport={"width": 360, "height": 800}, color_scheme="dark")
    tab.keyboard.press("Escape")
    for key, word in (("ArrowRight", 0), ("ArrowRight", 1), ("ArrowLeft", 0), ("ArrowLeft", 2)):
        tab.keyboard.press(key)
        assert tab.evaluate("document.body.dataset.words") == str(word)
        assert tab.evaluate("buttons.indexOf(document.activeElement)") == word
        assert tab.evaluate("document.activeElement.getAttribute('aria-pressed')") == "false"
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("Enter")  # the first is held
    for key in ("ArrowLeft", "Enter"):  # and the last
        tab.keyboard.press(key)
    assert tab.evaluate("document.body.dataset.words") == "0 2"
    tab.focus("#words button:nth-child(1)")
    tab.keyboard.press("Enter")  # let go
    assert tab.evaluate("state.held") == [2]
    for key, frame in ((".", 1), (".", 2), (",", 1)):
        tab.keyboard.press(key)
        tab.wait_for_selector(f"body[data-frame='{frame}']")
        assert_heat(tab, one, frame, 2)
    for _ in range(5):  # quicker than the clip can follow
        tab.keyboard.press(".")
    tab.wait_for_selector("body[data-frame='6']")
    strips = tab.locator("#tracks").bounding_box()
    tab.mouse.click(strips["x"] + strips["width"] * 8.5 / N_FRAMES, strips["y"] + 5)
    tab.wait_for_selector("body[data-frame='8']")
    assert_heat(tab, one, 8, 2)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    best = one.curves[:, 2].argmax()
    assert f"most salient at {best / FPS:.2f} s, frame {best + 1}" in tab.inner_text("#told")
    tab.keyboard.press("m")
    tab.wait_for_selector(f"body[data-frame='{best}']")
    tab.click("#names button >> nth=0")
    assert tab.evaluate("document.body.dataset.words") == "2 0"
    tab.click("#play")
    assert not tab.evaluate("player.paused")
    tab.keyboard.press(" ")  # the mouse has pressed the button: space still plays and stops
    assert tab.evaluate("player.paused")


@needs_chromium
def test_maps_and_frames_keep_together(opened, clip):
    """Each frame on the screen has its own map: its number is read off it."""
    tab = opened(explanation(clip, ["dog"], N_FRAMES))
    seen = tab.evaluate(
        """async (bits) => {
            const board = document.createElement("canvas"), seen = [];
            const pen = board.getContext("2d", { willReadFrequently: true });
            [board.width, board.height] = [64, 48];
            await new Promise((done) => {
                const next = () => {
                    pen.drawImage(player, 0, 0, 64, 48);
                    let number = 0;
                    for (let k = 0; k < bits; k++) number += (pen.getImageData(16 * k + 8, 8, 1, 1).data[0] > 127) << k;
                    seen.push([number, Number(document.body.dataset.frame)]);
                    if (seen.length < 20) player.requestVideoFrameCallback(next);
                    else done();
                };
                player.requestVideoFrameCallback(next);
                setTimeout(done, 15000);
                document.body.dispatchEvent(new KeyboardEvent("keydown", { key: " ", bubbles: true }));
            });
            return seen;
        }""",
        BITS,
    )
    assert [number for number, _ in seen] == [frame for _, frame in seen]
    assert len({number for number, _ in seen}) > N_FRAMES // 2


@needs_chromium
def test_what_came_from_outside_is_text(opened, picture):
    tab = opened(explanation(picture, ["a", HOSTILE], sentence=HOSTILE))
    assert HOSTILE in tab.locator("#title").text_content()
    assert tab.locator("#words button").nth(1).text_content() == HOSTILE
    assert tab.evaluate("document.title").startswith("</script>")
    assert tab.evaluate("[document.images.length, document.scripts.length]") == [1, 5]
