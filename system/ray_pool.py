"""Work on the actors of a Ray cluster: each builds its worker once, such as a network, and is given task after task.

with ray_pool.connected(args):
    with ray_pool.Pool("preprocessing:worker", config, n_at_once=32) as pool:
        for item, result in pool.results(items): ...

The worker is named, not sent: an actor imports it from the project's folder, which lies at the same place on every
machine. What an actor does is lost with it, and done again by another one.
"""

import collections
import contextlib
import importlib
import itertools
import logging
import os
import time
from pathlib import Path

from system import console, device, errors
from system.errors import UserError

LOCAL = "local"  # the address of a cluster that is started on this machine, for this run
CPUS_EACH = 4  # that an actor takes, or all of the smallest machine's where those are fewer
AHEAD = 2  # tasks that an actor has: one to do, and one to go on with
RETRIES = 2  # of what an actor died of
POLL = 1  # seconds between two looks at which machines there are
SLOW = 60  # seconds without an actor after which that is told
PATIENCE = 5  # seconds for an answer of the cluster's address
HOME = Path(__file__).resolve().parents[1]


def add_arguments(parser):
    """The flag of the scripts whose work a cluster can do."""
    parser.add_argument(
        "--ray",
        nargs="?",
        const=LOCAL,
        metavar="ADDRESS",
        help="work on a Ray cluster: HOST:PORT of one, auto for one that runs on this machine, or, without an address, "
        "one that is started here for this run (docs/scale.md; needs the extra: pip install -e '.[ray]')",
    )


@contextlib.contextmanager
def connected(args):
    """Context manager: with --ray on the command line this process is connected to that cluster.

    UserError where Ray is not installed, where no cluster answers, and where --gpu names one: which, is Ray's to say.
    """
    address = args.ray
    if address is None:
        yield
        return
    if args.gpu not in (None, "-1"):
        raise UserError(f"--gpu {args.gpu}: with --ray each actor gets a GPU from Ray; -1 keeps to the CPUs")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    try:
        import ray
    except ImportError:
        raise UserError("--ray: Ray is not installed: pip install -e '.[ray]' installs it") from None
    _check_answers(address)
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    if address == LOCAL:
        quiet["include_dashboard"] = False
    try:
        ray.init(address, runtime_env={"env_vars": {"PYTHONPATH": str(HOME)}}, **quiet)
    except Exception as error:  # none there, of another version, and what else the network has in store
        raise UserError(f"--ray {address}: no cluster can be had ({error})") from None
    try:
        yield
    finally:
        ray.shutdown()


def _check_answers(address):
    """UserError where no server of Ray's kind (gRPC) answers at HOST:PORT, which Ray itself would try for minutes."""
    if address in (LOCAL, "auto"):
        return
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        raise UserError(f"--ray {address}: write the address as HOST:PORT, or auto")
    import grpc

    with grpc.insecure_channel(address) as channel:
        try:
            grpc.channel_ready_future(channel).result(PATIENCE)
        except grpc.FutureTimeoutError:
            raise UserError(f"--ray {address}: no cluster answers there within {PATIENCE} seconds") from None


class Died(Exception):
    """A result: whoever worked on the item died, as often as it was tried."""


class Worker:
    """What an actor is: a worker that is built once, from "module:function" and the function's arguments."""

    def build(self, factory, arguments, folder, variables):
        """Call the function, in the driver's folder and with its variables of the environment.

        -> None, or the error that a user is meant to see.
        """
        os.chdir(folder)
        os.environ.update(variables)
        module, _, name = factory.partition(":")
        self.work = errors.outcome(getattr(importlib.import_module(module), name), *arguments)
        return self.work if isinstance(self.work, Exception) else None

    def do(self, items):
        """The worker's results of some items -> list, or the error that a user is meant to see."""
        return errors.outcome(self.work, items)


class _Task:
    """Items that an actor gets together, and how often that has ended with its death."""

    def __init__(self, items, n_deaths=0):
        self.items, self.n_deaths = items, n_deaths


class Pool:
    """As many actors as the cluster has room for, one a GPU or CPUS_EACH; as a context manager they go at the end.

    factory: "module:function"; called with `arguments` in each actor it gives the worker, from a list of items to the
    list of their results. n_at_once: so many items are a task. Machines that come later are used as well.
    """

    def __init__(self, factory, *arguments, n_at_once=1, with_gpus=True):
        import ray

        self._ray, self.n_at_once = ray, n_at_once
        there = self._machines()
        self._unit = "GPU" if with_gpus and any(machine.get("GPU", 0) >= 1 for machine in there) else "CPU"
        fewest = min((int(machine.get("CPU", 0)) for machine in there if machine.get("CPU", 0) >= 1), default=1)
        self._each = 1 if self._unit == "GPU" else min(CPUS_EACH, fewest)
        self._building = factory, arguments, os.getcwd(), device.numeric_settings()
        needs = {"num_gpus": 1} if self._unit == "GPU" else {"num_cpus": self._each, "num_gpus": 0}
        self._actor = ray.remote(Worker).options(**needs)
        self._tasks = {}  # of each actor what it is to answer, in order: pairs of a task and Ray's reference
        self._ready = set()  # the actors that are built
        self._again = collections.deque()  # tasks of those that died
        self._n_stillborn, self._reason = 0, ""  # actors that died before they were built, one after the other; of what
        self._begun, self._has_told = None, False  # when it was first asked for actors

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for actor in self._tasks:
            self._ray.kill(actor)

    def _machines(self):
        """What each machine of the cluster that is up has -> list of dicts such as {"CPU": 8.0, "GPU": 1.0}."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def results(self, items):
        """Yield (item, result) as they come, in any order; items are taken no sooner than somebody is free for them.

        A result is what the worker gives for the item; Died where an actor died of it, and RETRIES others did.
        UserError as the worker raises them, and where no actor lives long enough to be built.
        """
        items, looked = iter(items), -POLL
        new = (_Task(some) for some in iter(lambda: list(itertools.islice(items, self.n_at_once)), []))
        while True:
            if time.monotonic() - looked >= POLL:
                self._start_actors()
                looked = time.monotonic()
            is_over = self._deal(new)
            if is_over and not any(task for queue in self._tasks.values() for task, _ in queue):
                return
            heads = {queue[0][1]: actor for actor, queue in self._tasks.items() if queue}
            if not heads:  # nor any machine that has room for an actor
                time.sleep(POLL)
                continue
            for ref in self._ray.wait(list(heads), timeout=POLL)[0]:
                yield from self._answer(heads[ref])

    def _start_actors(self):
        """Start those for which the cluster has room; what it has is others' too, so that some may have to wait."""
        if self._n_stillborn > RETRIES:
            if not self._tasks:
                raise UserError(f"--ray: no actor lives until it is built: {self._reason}")
            return
        self._begun = self._begun or time.monotonic()
        if not self._ready and not self._has_told and time.monotonic() - self._begun > SLOW:
            self._has_told = True
            console.tell(f"waiting for the cluster: no actor in {SLOW} seconds; are all of its {self._unit}s taken?")
        room = sum(int(machine.get(self._unit, 0) // self._each) for machine in self._machines())
        for _ in range(room - len(self._tasks)):
            actor = self._actor.remote()
            self._tasks[actor] = collections.deque([(None, actor.build.remote(*self._building))])

    def _deal(self, new):
        """Give each actor that is built what it may have ahead -> whether nothing is left to give.

        What may have been an actor's death is the only thing that its next one has: so nothing else is blamed for it.
        """
        for length in range(AHEAD):  # everybody gets a first task before anybody gets a second one
            for actor in self._ready:
                queue = self._tasks[actor]
                if len(queue) > length or any(task.n_deaths for task, _ in queue):
                    continue
                task = self._again.popleft() if self._again and not queue else next(new, None)
                if task is None:
                    return not self._again
                queue.append((task, actor.do.remote(task.items)))
        return False

    def _answer(self, actor):
        """Yield what an actor's first answer says: the results of its task, or why there are none."""
        task, ref = self._tasks[actor].popleft()
        try:
            outcome = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError:  # a mistake of the program
            raise
        except self._ray.exceptions.RayError as error:
            yield from self._bury(actor, task, error)
            return
        if isinstance(outcome, Exception):
            raise outcome
        if task is None:
            self._ready.add(actor)
            self._n_stillborn = 0
        else:
            yield from zip(task.items, outcome, strict=True)

    def _bury(self, actor, task, error):
        """An actor died of a task, of None while it was built: its tasks are others', or yield that they are nobody's.

        It was at the first one. Items of that are dealt one by one, so that what kills does so alone.
        """
        self._ray.kill(actor)  # it may only be out of reach
        others = self._tasks.pop(actor)
        self._ready.discard(actor)
        self._again.extend(other for other, _ in others)
        reason = " ".join(str(error).split())
        if task is None:
            self._n_stillborn, self._reason = self._n_stillborn + 1, reason
        elif task.n_deaths < RETRIES:
            self._again.extend(_Task([item], task.n_deaths + 1) for item in task.items)
        else:
            for item in task.items:
                yield item, Died(f"{task.n_deaths + 1} processes died of it, the last one so: {reason}")
