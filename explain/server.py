"""The live page's server: what is asked of it. One job is done at a time (jobs.py); what jobs do is in workbench.py.

It trusts nobody but its own page: no path comes from a request, and no other page's request is answered.
"""

import asyncio
import contextlib
import json
from urllib.parse import unquote

from explain import page
from explain.jobs import Jobs
from explain.query import UNKNOWN
from system.errors import UserError

MOST_OF_A_FILE = 256 << 20  # bytes of a picture or clip
MOST_UPLOADS = 4  # at once
PATIENCE = 30  # seconds, for the next piece of what is sent
MOST_OF_A_QUESTION = 64 << 10  # bytes
MOST_OF_A_NAME = 200  # letters of a file's name
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


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

    def __init__(self, app, hosts, jobs):
        self.app, self.jobs = app, jobs
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
    """Generate the body of a request, piece by piece; Refused where it has more than `most` bytes, or does not come."""
    pieces, n_bytes = request.stream(), 0
    while True:
        try:
            piece = await asyncio.wait_for(anext(pieces), PATIENCE)
        except StopAsyncIteration:
            return
        except asyncio.TimeoutError:
            raise Refused(408, f"nothing came for {PATIENCE} seconds") from None
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
    from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response, StreamingResponse
    from starlette.routing import Route

    jobs, words = Jobs(), list(bench.captioner.words)
    text = page.document(live="live.html", scripts=["live.js"], source="blob: 'self'", connect="'self'")
    uploads = asyncio.Semaphore(MOST_UPLOADS)

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

        if uploads.locked():
            raise Refused(503, f"{MOST_UPLOADS} files are being sent already: try again later")
        try:
            async with uploads:
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
            return FileResponse(laid.shown, media_type=page.kind(laid.sight.is_video))
        return Response(status_code=404)

    async def explained(request):
        asked, _ = await _question(request)
        return streamed(lambda progress: bench.explain(*asked, progress))

    async def covered(request):
        asked, rectangle = await _question(request)
        if rectangle is None:
            raise Refused(400, "not what the page asks")
        return streamed(lambda progress: bench.cover(*asked, rectangle))

    async def icon(request):
        return Response(status_code=204)

    async def refused(request, error):
        return JSONResponse({"error": str(error)}, error.status)

    async def gone(request, error):
        return Response(status_code=400)  # nobody reads it

    routes = [
        Route("/", home),
        Route("/favicon.ico", icon),
        Route("/words", vocabulary),
        Route("/media", upload, methods=["POST"]),
        Route("/media/{id}", shown),
        Route("/explain", explained, methods=["POST"]),
        Route("/cover", covered, methods=["POST"]),
    ]
    app = Starlette(routes=routes, exception_handlers={Refused: refused, ClientDisconnect: gone})
    app.router.redirect_slashes = False
    return OwnPageOnly(app, hosts, jobs)
