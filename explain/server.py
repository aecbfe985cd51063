"""The live page's server: requests, and one job at a time. What the jobs do is in workbench.py.

It trusts nobody but its own page: no path comes from a request, and no other page's request is answered.
"""

import asyncio
import contextlib
import json
import threading
import traceback
from urllib.parse import unquote

from explain import page
from explain.query import UNKNOWN
from system import errors
from system.errors import UserError

MOST_OF_A_FILE = 256 << 20  # bytes of a picture or clip
MOST_OF_A_QUESTION = 64 << 10  # bytes
MOST_OF_A_NAME = 200  # letters of a file's name
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


# One job at a time


class Stopped(Exception):
    """Whoever asked has gone away."""


class Job:
    """Work that was asked for: work(progress) -> JSON, and what there is to tell about it."""

    def __init__(self, work):
        self.work = work
        self.told = asyncio.Queue()
        self.stopped = threading.Event()


class Jobs:
    """Does one job after another, in a thread beside the server; tells those that wait how many are before them."""

    def __init__(self):
        self._waiting, self._runner = [], None

    async def answer(self, work):
        """Generate what there is to tell of a job: {"waiting": n}, {"done": k, "of": n}, at last a result or an error.

        Where nobody listens any more, the job ends at its next step.
        """
        job = Job(work)
        self._waiting.append(job)
        if self._runner is None:
            self._runner = asyncio.create_task(self._run())
        else:
            job.told.put_nowait({"waiting": len(self._waiting)})
        try:
            while True:
                told = await job.told.get()
                yield told
                if told.keys() & {"result", "error"}:
                    return
        finally:
            job.stopped.set()
            if job in self._waiting:
                self._waiting.remove(job)

    async def _run(self):
        loop = asyncio.get_running_loop()
        while self._waiting:
            job = self._waiting.pop(0)

            def progress(done, total, job=job):
                if job.stopped.is_set():
                    raise Stopped
                loop.call_soon_threadsafe(job.told.put_nowait, {"done": done, "of": total})

            job.told.put_nowait(await asyncio.to_thread(_outcome, job, progress))
            for k, other in enumerate(self._waiting):
                other.told.put_nowait({"waiting": k})
        self._runner = None


def _outcome(job, progress):
    """What comes of a job: its result, or an error in one line, with the words that are not known."""
    try:
        progress(0, 1)  # it may have been stopped while it waited
        return {"result": job.work(progress)}
    except Stopped:
        return {"error": "stopped"}
    except Exception as error:
        told = errors.as_user_error(error)
        if told is None:
            traceback.print_exc()
            return {"error": "a mistake of the program, told where it runs"}
        return {"error": str(told), "near": getattr(error, "near", {})}


# What is asked of the server


class Refused(Exception):
    """A request that is not answered, with the status that says so."""

    def __init__(self, status, reason):
        super().__init__(reason)
        self.status = status


class OwnPageOnly:
    """ASGI: an application that answers requests of its own page alone, whatever a browser or another page tries.

    The Host has to be ours (a name that somebody else's server of names points here is not), the Origin, too; what
    changes anything has to have one.
    """

    def __init__(self, app, hosts):
        self.app = app
        self.hosts = [host.encode() for host in hosts]

    def _is_own(self, scope):
        values = {name: [value for key, value in scope["headers"] if key == name] for name in (b"host", b"origin")}
        origins = [[b"http://" + host] for host in self.hosts]
        asks = scope["method"] in ("GET", "HEAD")
        return values[b"host"] in [[host] for host in self.hosts] and (
            values[b"origin"] in origins or (asks and not values[b"origin"])
        )

    async def __call__(self, scope, receive, send):
        from starlette.responses import PlainTextResponse

        if scope["type"] != "http":
            return
        if not self._is_own(scope):
            await PlainTextResponse("this address answers its own page only", 403)(scope, receive, send)
            return

        async def send_with_headers(message):
            if message["type"] == "http.response.start":
                own = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *own]}
            await send(message)

        await self.app(scope, receive, send_with_headers)


async def _bounded(request, most):
    """Generate the body of a request, piece by piece; Refused where it has more than `most` bytes."""
    n_bytes = 0
    async for piece in request.stream():
        n_bytes += len(piece)
        if n_bytes > most:
            raise Refused(413, f"more than {most >> 20} MiB" if most >> 20 else f"more than {most >> 10} KiB")
        yield piece


async def _question(request):
    """What is asked about a medium, checked: its id, the sentence or None, `unknown`, `instead`; the rectangle or None.

    Refused where it is not what the page asks.
    """
    try:
        asked = json.loads(b"".join([piece async for piece in _bounded(request, MOST_OF_A_QUESTION)]))
        medium_id, sentence, instead = asked["medium"], asked.get("sentence"), asked.get("instead")
        unknown, rectangle = asked.get("unknown", "error"), asked.get("rectangle")
        texts = [medium_id, *(text for text in (sentence, instead) if text is not None)]
        is_sound = all(isinstance(text, str) for text in texts) and unknown in UNKNOWN
        if rectangle is not None:
            top, left, bottom, right = rectangle
            is_sound &= 0 <= top < bottom <= 1 and 0 <= left < right <= 1
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        is_sound = False
    if not is_sound:
        raise Refused(400, "not what the page asks")
    return (medium_id, sentence, unknown, instead or None), rectangle


def make_app(bench, hosts):
    """The server's application (ASGI) over a workbench.Workbench, for the page that it gives out itself.

    hosts: what that page's address may be, such as "127.0.0.1:8017".
    """
    from starlette.applications import Starlette
    from starlette.requests import ClientDisconnect
    from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
    from starlette.routing import Route

    jobs, words = Jobs(), bench.explainer.saved.vocabulary.words[1:]
    text = page.document(live="live.html", scripts=["live.js"], connect="'self'")

    def streamed(work, at_the_end=lambda: None):
        async def lines():
            try:
                async with contextlib.aclosing(jobs.answer(work)) as answer:
                    async for told in answer:
                        yield json.dumps(told) + "\n"
            finally:
                at_the_end()

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    async def home(request):
        return HTMLResponse(text)

    async def vocabulary(request):
        return JSONResponse(words)

    async def upload(request):
        name = unquote(request.headers.get("x-name", ""))[-MOST_OF_A_NAME:] or "without a name"
        path = bench.new_path(name)

        def forget():  # what did not come to lie on the bench
            if path.stem not in bench.media:
                path.unlink(missing_ok=True)

        try:
            with open(path, "wb") as file:
                async for piece in _bounded(request, MOST_OF_A_FILE):
                    file.write(piece)
        except OSError as error:
            forget()
            raise Refused(507, f"{name}: cannot be stored ({error.strerror})") from error
        except BaseException:
            forget()
            raise
        return streamed(lambda progress: bench.lay(path, name, progress), forget)

    async def shown(request):
        with contextlib.suppress(UserError):
            laid = bench.laid(request.path_params["id"])
            return Response(laid.encoded, media_type=page.kind(laid.sight.is_video))
        return Response(status_code=404)

    async def explained(request):
        asked, _ = await _question(request)
        return streamed(lambda progress: bench.explain(*asked, progress))

    async def covered(request):
        asked, rectangle = await _question(request)
        if rectangle is None:
            raise Refused(400, "not what the page asks")
        return streamed(lambda progress: bench.cover(*asked, rectangle))

    async def refused(request, error):
        return JSONResponse({"error": str(error)}, error.status)

    async def gone(request, error):
        return Response(status_code=400)  # nobody reads it

    routes = [
        Route("/", home),
        Route("/words", vocabulary),
        Route("/media", upload, methods=["POST"]),
        Route("/media/{id}", shown),
        Route("/explain", explained, methods=["POST"]),
        Route("/cover", covered, methods=["POST"]),
    ]
    app = Starlette(routes=routes, exception_handlers={Refused: refused, ClientDisconnect: gone})
    app.router.redirect_slashes = False
    return OwnPageOnly(app, hosts)
