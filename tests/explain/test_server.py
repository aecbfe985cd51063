"""The live page's server: whom it answers, what it takes, and one job at a time. The work is made up here."""

import contextlib
import http.client
import json
import socket
import threading
import time
from types import SimpleNamespace

import pytest

from system.errors import UserError

uvicorn = pytest.importorskip("uvicorn", reason="explore.py's packages are not installed")
from explain import jobs, server  # noqa: E402

SECONDS = 20  # of patience


class Bench:
    """Records what is asked of it; `explain` works in steps until it is let go."""

    def __init__(self, folder):
        self.captioner = SimpleNamespace(words=["a", "dog"])
        self.folder, self.media = folder, {}
        self.go, self.asked, self.ended, self.busy = threading.Event(), [], [], 0

    def new_path(self, name):
        return self.folder / "stored.png"

    def lay(self, path, name, progress):
        self.asked.append((path.read_bytes(), name))
        if name == "bad.png":
            raise UserError("bad.png: no picture")
        shown = path.with_name("shown")
        shown.write_bytes(b"shown")
        self.media[path.stem] = SimpleNamespace(shown=shown, sight=SimpleNamespace(is_video=False))
        return {"id": path.stem}

    def laid(self, medium_id):
        if medium_id not in self.media:
            raise UserError("not here")
        return self.media[medium_id]

    def explain(self, medium_id, sentence, unknown, instead, progress):
        assert self.busy == 0
        self.busy += 1
        self.asked.append((medium_id, sentence, unknown, instead))
        try:
            progress(1, 2)
            while not self.go.wait(0.01):
                progress(1, 2)
            return {"words": sentence.split()}
        finally:
            self.busy -= 1
            self.ended.append(sentence)

    def cover(self, *asked):
        self.asked.append(asked)
        return 1 / 0 if asked[0] == "broken" else {"rectangle": asked[-1]}


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


@pytest.fixture
def port(bench):
    with contextlib.closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        app = server.make_app(bench, [f"127.0.0.1:{port}", f"localhost:{port}"])
        running = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        yield port
        bench.go.set()
        running.should_exit = True
        thread.join(SECONDS)
        assert not thread.is_alive()


def request(port, method, path, body=None, wait=True, **headers):
    """-> response (its body as `content`), or the open connection where nobody waits for an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    own = {"Origin": f"http://127.0.0.1:{port}"} if method == "POST" else {}
    connection.request(
        method, path, body, {**own, **{name.replace("_", "-"): value for name, value in headers.items()}}
    )
    if not wait:
        return connection
    response = connection.getresponse()
    response.content = response.read()
    connection.close()
    return response


def told(response):
    return [json.loads(line) for line in response.content.splitlines()]


def question(**changes):
    return json.dumps({"medium": "m", "sentence": "a dog", **changes})


def until(true):
    end = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_page_asks_nobody_else(port):
    response = request(port, "GET", "/")
    text = response.content.decode()
    assert response.status == 200 and "connect-src 'self'" in text and "default-src 'none'" in text
    assert response.headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert json.loads(request(port, "GET", "/words").content) == ["a", "dog"]


@pytest.mark.parametrize(
    "method, headers",
    [
        ("GET", {"Host": "evil.example"}),
        ("GET", {"Host": "evil.example:{port}"}),
        ("GET", {"Host": "127.0.0.1"}),
        ("GET", {"Origin": "http://evil.example"}),
        ("POST", {"Origin": "http://evil.example"}),
        ("POST", {"Origin": "null"}),
        ("POST", {"Origin": "https://127.0.0.1:{port}"}),
        ("POST", {"Origin": "http://127.0.0.1:1"}),
        ("POST", {"Host": "evil.example:{port}", "Origin": "http://evil.example:{port}"}),
    ],
)
def test_other_pages_are_not_answered(port, bench, method, headers):
    """Of a name that was turned to this machine, or posting from elsewhere."""
    headers = {name: value.format(port=port) for name, value in headers.items()}
    bench.go.set()
    for path in ("/", "/explain") if method == "GET" else ("/explain", "/media", "/cover"):
        assert request(port, method, path, question() if method == "POST" else None, **headers).status == 403
    assert bench.asked == []


def test_a_post_says_where_it_comes_from(port, bench):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    connection.request("POST", "/explain", question())
    assert connection.getresponse().status == 403 and bench.asked == []


def test_a_file_is_laid(port, bench, tmp_path):
    response = request(port, "POST", "/media", b"content", X_Name="caf%C3%A9%2F..%2Fx.png")
    assert told(response)[-1] == {"result": {"id": "stored"}}
    assert bench.asked == [(b"content", "caf\u00e9/../x.png")] and (tmp_path / "stored.png").exists()
    response = request(port, "GET", "/media/stored")
    assert (response.content, response.headers["Content-Type"]) == (b"shown", "image/jpeg")
    for path in ("/media/other", "/media/..%2Fstored.png", "/../../etc/passwd", "/media/"):
        assert request(port, "GET", path).status == 404


def test_a_file_that_cannot_be_read_does_not_stay(port, bench, tmp_path):
    response = request(port, "POST", "/media", b"content", X_Name="bad.png")
    assert told(response)[-1] == {"error": "bad.png: no picture", "near": {}}
    until(lambda: not list(tmp_path.iterdir()))


def test_a_file_that_is_too_large_does_not_stay(port, bench, tmp_path, monkeypatch):
    monkeypatch.setattr(server, "MOST_OF_A_FILE", 3 << 20)
    response = request(port, "POST", "/media", b"x" * ((3 << 20) + 1), X_Name="x.png")
    assert (response.status, json.loads(response.content)) == (413, {"error": "more than 3 MiB"})
    assert bench.asked == [] and not list(tmp_path.iterdir())


def test_an_upload_that_breaks_off_does_not_stay(port, bench, tmp_path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    connection.putrequest("POST", "/media")
    for name, value in {"Content-Length": "1000", "Origin": f"http://127.0.0.1:{port}", "X-Name": "x.png"}.items():
        connection.putheader(name, value)
    connection.endheaders(b"half")
    until(lambda: list(tmp_path.iterdir()))
    connection.close()
    until(lambda: not list(tmp_path.iterdir()))
    assert bench.asked == []


@pytest.mark.parametrize(
    "body",
    [
        *("", "[]", "{}", "7", "null", '{"medium": 3}', "[" * 10_000, question(sentence=3), question(unknown="guess")),
        *(question(instead=[]), question(medium=None), question(sentence="x" * server.MOST_OF_A_QUESTION)),
        *(question(rectangle=one) for one in ([0, 0, 1], [0, 0, 1, 2], [0.5, 0, 0.5, 1], "0011", [0, 0, None, 1], 5)),
        question().replace('"a dog"', '"a dog", "rectangle": [0, 0, NaN, 1]'),
    ],
    ids=lambda body: body[:30],
)
def test_what_the_page_does_not_ask_is_refused(port, bench, body):
    bench.go.set()
    response = request(port, "POST", "/explain", body.encode())
    assert response.status in (400, 413) and "error" in json.loads(response.content)
    assert request(port, "POST", "/cover", question()).status == 400  # without a rectangle
    assert bench.asked == []


def test_one_job_at_a_time_and_the_queue_is_told(port, bench):
    first = request(port, "POST", "/explain", question(sentence="first"), wait=False)
    until(lambda: bench.busy)
    second = request(port, "POST", "/explain", question(sentence="second", instead="cat"), wait=False)
    answer = second.getresponse()
    assert json.loads(answer.readline()) == {"waiting": 1}
    assert len(bench.asked) == 1
    bench.go.set()
    last = [json.loads(line) for line in answer.read().splitlines()]
    assert last[-1] == {"result": {"words": ["second"]}}
    lines = first.getresponse().read().splitlines()
    assert json.loads(lines[-1]) == {"result": {"words": ["first"]}} and {"done": 1, "of": 2} in map(json.loads, lines)
    assert bench.asked == [("m", "first", "error", None), ("m", "second", "error", "cat")]


def test_a_browser_that_goes_away_stops_its_job(port, bench):
    connection = request(port, "POST", "/explain", question(sentence="left"), wait=False)
    until(lambda: bench.busy)
    waiting = request(port, "POST", "/explain", question(sentence="waits"), wait=False)
    later = request(port, "POST", "/explain", question(sentence="stays"), wait=False)
    assert json.loads(later.getresponse().readline()) == {"waiting": 2}
    for one in (waiting, connection):  # neither of them is done
        one.close()
    until(lambda: bench.busy and bench.ended == ["left"])
    assert [sentence for _, sentence, *_ in bench.asked] == ["left", "stays"]


def test_the_queue_has_an_end(port, bench, monkeypatch):
    monkeypatch.setattr(jobs, "MOST_WAITING", 1)
    open_ones = [request(port, "POST", "/explain", question(sentence=str(k)), wait=False) for k in range(2)]
    assert json.loads(open_ones[1].getresponse().readline())["waiting"] == 1
    response = request(port, "POST", "/explain", question())
    assert told(response) == [{"error": "1 questions are waiting already: ask again later"}]


def test_uploads_that_do_not_come(port, bench, tmp_path, monkeypatch):
    """Only so many at once, and each has to go on."""
    monkeypatch.setattr(server, "PATIENCE", 0.5)
    slow = []
    for _ in range(server.MOST_UPLOADS):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        connection.putrequest("POST", "/media")
        for name, value in {"Content-Length": "9", "Origin": f"http://127.0.0.1:{port}", "X-Name": "x.png"}.items():
            connection.putheader(name, value)
        connection.endheaders(b"half")
        slow.append(connection)
    until(lambda: list(tmp_path.iterdir()))
    time.sleep(0.2)
    response = request(port, "POST", "/media", b"content", X_Name="x.png")
    assert response.status == 503 and "4 files are being sent already" in json.loads(response.content)["error"]
    assert [connection.getresponse().status for connection in slow] == [408] * server.MOST_UPLOADS
    until(lambda: not list(tmp_path.iterdir()))
    assert told(request(port, "POST", "/media", b"content", X_Name="x.png"))[-1] == {"result": {"id": "stored"}}


def test_a_rectangle_and_a_mistake_of_ours(port, bench, capsys):
    response = request(port, "POST", "/cover", question(rectangle=[0, 0.25, 0.5, 1]))
    assert told(response)[-1] == {"result": {"rectangle": [0, 0.25, 0.5, 1]}}
    response = request(port, "POST", "/cover", question(medium="broken", rectangle=[0, 0, 1, 1]))
    assert told(response)[-1] == {"error": "a mistake of the program, told where it runs"}
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert told(request(port, "POST", "/cover", question(rectangle=[0, 0, 1, 1])))[-1]["result"]  # it goes on
