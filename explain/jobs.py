"""One job at a time, for whoever asks over the network: who waits is told, and who goes away is not worked for."""

import asyncio
import contextlib
import threading
import traceback

from system import errors

MOST_WAITING = 16  # jobs


class Stopped(Exception):
    """Nobody waits for the job any more."""


class Job:
    """Work that was asked for, work(progress) -> JSON, and what there is to tell about it."""

    def __init__(self, work):
        self.work = work
        self.loop = asyncio.get_running_loop()
        self.told = asyncio.Queue()
        self.stopped = threading.Event()

    def tell(self, what):
        """Tell something, from any thread."""
        with contextlib.suppress(RuntimeError):  # the server has ended
            self.loop.call_soon_threadsafe(self.told.put_nowait, what)

    def progress(self, done, total):
        """Tell how far the work is; Stopped where it is no longer wanted."""
        if self.stopped.is_set():
            raise Stopped
        self.tell({"done": done, "of": total})

    def outcome(self):
        """What comes of it: a result, or an error in one line, with the words that are not known."""
        try:
            return {"result": self.work(self.progress)}
        except Stopped:
            return {"error": "stopped"}
        except Exception as error:
            told = errors.as_user_error(error)
            if told is None:
                traceback.print_exc()
                return {"error": "a mistake of the program, told where it runs"}
            return {"error": str(told), "near": getattr(error, "near", {})}


class Jobs:
    """Does one job after another, each in a thread beside the server."""

    def __init__(self):
        self._jobs = []  # the one that is done, and those that wait

    async def answer(self, work):
        """Generate what there is to tell of a job: {"waiting": n}, {"done": k, "of": n}, at last a result or an error.

        waiting: so many are before it. Where nobody listens any more, it ends at its next step.
        """
        if len(self._jobs) > MOST_WAITING:
            yield {"error": f"{MOST_WAITING} questions are waiting already: ask again later"}
            return
        job = Job(work)
        self._jobs.append(job)
        if len(self._jobs) == 1:
            self._start()
        else:
            job.told.put_nowait({"waiting": len(self._jobs) - 1})
        try:
            while True:
                told = await job.told.get()
                yield told
                if told.keys() & {"result", "error"}:
                    return
        finally:
            job.stopped.set()
            if job in self._jobs[1:]:
                self._jobs.remove(job)
                self._tell_those_that_wait()

    def _start(self):
        # A daemon: nobody waits for a job when the server ends.
        threading.Thread(target=self._do, args=(self._jobs[0],), daemon=True).start()

    def _do(self, job):
        job.tell(job.outcome())
        with contextlib.suppress(RuntimeError):
            job.loop.call_soon_threadsafe(self._next)

    def _next(self):
        del self._jobs[0]
        if self._jobs:
            self._start()
        self._tell_those_that_wait()

    def _tell_those_that_wait(self):
        for k, job in enumerate(self._jobs[1:], 1):
            job.told.put_nowait({"waiting": k})

    def end(self):
        """End all jobs, since the server does."""
        for job in self._jobs:
            job.stopped.set()
            job.tell({"error": "the program has ended"})
