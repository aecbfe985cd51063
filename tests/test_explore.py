"""The live page from end to end: the command, a browser, and a photograph that is chosen in it."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

import caption_saliency
from tests import commands, make_media
from tests.browser import assert_heat, drawn, needs_chromium

pytest.importorskip("uvicorn", reason="explore.py's packages are not installed")
pytestmark = pytest.mark.slow
SETTINGS = ("saliency_input_size=128", "beam_size=3")  # 4 x 4 cells
HOSTILE = "<b>&'\"\u202e \u00e9\U0001f415.png"
PATIENCE = 60_000  # milliseconds


@contextlib.contextmanager
def explored(folder, *arguments):
    """Context manager: explore.py in a process of its own -> (process, address)."""
    command = [sys.executable, commands.ROOT / "explore.py", "--port", "0", *commands.settings(*SETTINGS), *arguments]
    environment = {**os.environ, "TMPDIR": str(folder)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            line = process.stdout.readline()
            yield process, re.search(r"http://127\.0\.0\.1:\d+", line)[0]
        finally:
            process.kill()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with explored(tmp_path_factory.mktemp("temporary")) as (_, address):
        yield address


@pytest.fixture(scope="module")
def explain():
    return caption_saliency.load(settings=SETTINGS)


@pytest.fixture(scope="module")
def photograph(tmp_path_factory):
    return make_media.write_picture(tmp_path_factory.mktemp("media") / HOSTILE, 60, 90)


@pytest.fixture
def tab(browser, address):
    """The page, opened; at the end it has asked only its own server, and nothing complained."""
    said, asked = [], []
    tab = browser.new_page(viewport={"width": 1000, "height": 1200})
    tab.set_default_timeout(PATIENCE)
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(address)
    tab.wait_for_selector("body[data-alive]")
    yield tab
    tab.close()
    assert said == []
    assert [url for url in asked if not url.removeprefix("blob:").startswith(f"{address}/")] == []


def choose(tab, path):
    tab.evaluate("delete document.body.dataset.ready")
    tab.set_input_files("#file", path)
    tab.wait_for_selector("body[data-ready][data-busy=no]")


def ask(tab, sentence, instead=""):
    tab.fill("#instead", instead)
    tab.fill("#sentence", sentence)
    tab.press("#sentence", "Enter")
    tab.wait_for_selector("body[data-busy=no]")


@needs_chromium
def test_a_photograph(tab, explain, photograph):
    choose(tab, photograph)
    own = explain(photograph)
    captions = [one.rpartition("\u2212")[0] for one in tab.locator("#captions button").all_inner_texts()]
    assert tab.input_value("#sentence") == captions[0]
    assert len(captions) == 3 and captions[0] == own.query.sentence
    assert tab.locator("#title").text_content() == f"{HOSTILE}: “{captions[0]}” (the captioner\u2019s own caption)"
    assert_heat(tab, own, 0, int(np.argmax(own.gain)))

    ask(tab, "A dog runs!")
    one = explain(photograph, "A dog runs!")
    for word in range(3):
        tab.hover(f"#words button:nth-child({word + 1})")
        assert_heat(tab, one, 0, word)

    ask(tab, "a dog runs", instead="dog=cat")
    assert tab.locator("#words button").all_inner_texts() == ["dog, not cat"]
    assert_heat(tab, explain(photograph, "a dog runs", instead="dog=cat"), 0, 0)

    tab.reload()  # it goes on where it was
    tab.wait_for_selector("body[data-ready][data-busy=no]")
    assert tab.locator("#words button").all_inner_texts() == ["dog, not cat"]
    assert tab.input_value("#sentence") == "a dog runs"

    tab.click("#captions button >> nth=1")
    tab.wait_for_selector("body[data-busy=no]")
    assert captions[1] in tab.inner_text("#title")


@needs_chromium
def test_words_that_it_does_not_know(tab, photograph):
    choose(tab, photograph)
    tab.fill("#sentence", "a runn")
    offered = tab.locator("#completions option").evaluate_all("(options) => options.map((one) => one.value)")
    assert "a running" in offered and all(one.startswith("a runn") for one in offered)
    ask(tab, "a dogg runs")
    assert "does not know “dogg”" in tab.inner_text("#near")
    tab.click("#near button:text-is('dog')")
    tab.wait_for_selector("body[data-busy=no]")
    assert tab.input_value("#sentence") == "a dog runs" and "“a dog runs”" in tab.inner_text("#title")
    assert tab.inner_text("#near") == ""
    ask(tab, "“Dogg” doggs, a dogg's dogg")
    tab.click("#near button:text-is('dog') >> nth=0")
    tab.wait_for_selector("body[data-busy=no]")
    assert tab.input_value("#sentence") == "“dog” doggs, a dog's dog"  # no part of another word
    ask(tab, "a dog " * 40)
    assert tab.inner_text("#doing").startswith("the sentence has 80 words; this captioner takes at most")


@needs_chromium
def test_covering(tab, explain, photograph):
    choose(tab, photograph)
    ask(tab, "a dog runs")
    before = drawn(tab)
    tab.click("#covering")
    assert tab.inner_text("#how").startswith("Draw a rectangle")
    tab.locator("#heat").scroll_into_view_if_needed()
    box = tab.locator("#heat").bounding_box()
    tab.mouse.move(box["x"] + 1, box["y"] + 1)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] + 90, box["y"] + box["height"] + 90, steps=3)  # beyond the edge: to it
    tab.mouse.up()
    tab.wait_for_selector("#changes table")
    rows = [row.split("\t") for row in tab.locator("#changes tr").all_inner_texts()]
    words, *numbers = zip(*(row[:4] for row in rows[1:]), strict=True)
    was, covered, changed = np.array([[value.replace("\u2212", "-") for value in column] for column in numbers], float)
    one = explain(photograph, "a dog runs")
    assert words == ("a", "dog", "runs")
    np.testing.assert_allclose(was, one.log_q, atol=0.006)
    np.testing.assert_allclose(covered, one.grey_log_q, atol=0.1)  # but for the edge
    np.testing.assert_allclose(changed, -one.gain, atol=0.1)
    np.testing.assert_array_equal(drawn(tab), before)
    tab.click("#uncover")
    assert tab.locator(".cover:visible").count() == 0 and tab.inner_text("#changes") == ""

    tab.route("**/cover", lambda route: (time.sleep(1), route.continue_()))
    tab.mouse.move(box["x"] + 5, box["y"] + 5)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 50, box["y"] + 50)
    tab.mouse.up()
    tab.click("#uncover")  # before the answer is there
    tab.wait_for_timeout(1500)
    assert tab.inner_text("#changes") == "" and tab.locator(".cover:visible").count() == 0
    tab.unroute("**/cover")

    tab.focus("#picture")  # by keyboard: from cell (3, 3) to cell (1, 1) of 4 x 4
    tab.keyboard.press("ArrowDown")
    for key in ("c", "ArrowUp", "ArrowUp", "ArrowLeft", "ArrowLeft", "c"):
        tab.keyboard.press(key)
    tab.wait_for_selector("#changes table")
    cover, box = (tab.locator(name).first.bounding_box() for name in (".cover", "#heat"))
    assert cover["width"] == pytest.approx(0.75 * box["width"], abs=1)
    assert cover["y"] == pytest.approx(box["y"], abs=1)


@needs_chromium
def test_a_clip_and_what_is_no_picture(tab, explain, photograph, tmp_path):
    clip = make_media.write_video(tmp_path / "clip.mp4", make_media.noise_frames(9, 48, 64), fps=12)
    choose(tab, clip)
    ask(tab, "a dog runs")
    one = explain(clip, "a dog runs")
    word = int(np.argmax(one.gain))
    assert_heat(tab, one, 0, word)
    tab.keyboard.press("Escape")
    tab.focus("#play")
    tab.keyboard.press(".")
    tab.wait_for_selector("body[data-frame='1']")
    tab.hover(f"#words button:nth-child({word + 1})")
    assert_heat(tab, one, 1, word)
    other = make_media.write_video(tmp_path / "other.mp4", make_media.noise_frames(5, 48, 64), fps=12)
    choose(tab, other)
    assert tab.evaluate("document.body.dataset.frame") == "0"  # and not that of the clip before
    (tmp_path / "text.jpg").write_text("no picture")
    tab.set_input_files("#file", tmp_path / "text.jpg")
    tab.wait_for_selector("body[data-busy=no]")
    assert tab.inner_text("#doing").startswith("text.jpg")
    assert tab.locator("#explanation").is_visible()  # what was there stays
    choose(tab, photograph)  # after an error, and after a clip
    assert tab.locator("#time").is_hidden() and tab.locator("#picture img").count() == 1


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_ends_at_once_and_its_temporary_folder_goes(tmp_path, end):
    """Also in the middle of a job."""
    clip = make_media.write_video(
        tmp_path / "clip.mp4", make_media.noise_frames(200, 480, 640), "-c:v", "mpeg4", fps=12
    )
    (tmp_path / "temporary").mkdir()
    with explored(tmp_path / "temporary") as (process, address):
        host = address.removeprefix("http://")
        connection = http.client.HTTPConnection(host, timeout=60)
        connection.request("POST", "/media", clip.read_bytes(), {"Origin": address, "X-Name": "clip.mp4"})
        lines = connection.getresponse()
        while json.loads(lines.readline())["done"] == 0:  # until it is encoded for the browser
            pass
        process.send_signal(end)
        assert json.loads(lines.read().splitlines()[-1]) == {"error": "the program has ended"}
        assert process.wait(10) == 0
        assert process.stderr.read() == ""
    assert not list((tmp_path / "temporary").iterdir())


def test_a_port_that_is_taken_is_told_before_the_work(tmp_path):
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        said = commands.run("explore.py", "--port", port, cwd=tmp_path, status=2)
    assert re.search(rf"error: port {port} cannot be had \(.*\): name another one with --port", said)
    assert "name another one" in commands.run("explore.py", "--port", "99999", cwd=tmp_path, status=2)
