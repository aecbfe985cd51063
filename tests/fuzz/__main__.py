"""Fuzzing at length: `make fuzz`, or

    python -m tests.fuzz                  10,000 cases, and a table of what came of them
    python -m tests.fuzz --cases 500
    python -m tests.fuzz --case 1234      one of them again; its files stay in the folder that is named

A case is a sound file of some kind, changed, and read as the program reads it. It is read, or refused in one line;
anything else is a failure: another error, the end of the process, more than MOST_SECONDS, or more than MOST_GIB of
memory above what the process had. Workers run the cases, so that one that crashes or hangs costs only itself.
"""

import argparse
import collections
import json
import os
import resource
import select
import subprocess
import sys
import tempfile
import time

MOST_GIB = 1.5
PATIENCE = 60  # seconds without a word from a worker


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first one")
    parser.add_argument("--case", type=int, help="run this one alone")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--worker", type=int, nargs=3, help=argparse.SUPPRESS)  # first, end, step
    return parser.parse_args()


def memory():
    """Peak memory in GiB: this process', and that of the largest child that has ended."""
    return [resource.getrusage(who).ru_maxrss / 2**20 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]


def work(first, end, step):
    """A worker: says before each case which one it is, and after it what came of it, as a line of JSON."""
    from system import device

    device.start_tensorflow("-1")
    from tests.fuzz.cases import Cases
    from tests.fuzz.targets import TARGETS

    with tempfile.TemporaryDirectory() as folder:
        cases = Cases(folder)
        for k in range(len(TARGETS)):
            cases.run_sound(k)  # libraries are loaded, and have the memory that they take
        own, _ = memory()
        for number in range(first, end, step):
            print(json.dumps({"begins": number}), flush=True)
            outcome = cases.run(number)
            for peak, base in zip(memory(), (own, 0), strict=True):
                if peak - base > MOST_GIB:
                    outcome = f"{peak - base:.1f} GiB of memory"
            print(json.dumps({"ends": number, "outcome": outcome}), flush=True)
            if "GiB" in outcome:
                return  # the peak stays: a new worker goes on


class Worker:
    """A process that runs every `step`-th case; started anew where it ends before its last one."""

    def __init__(self, first, end, step):
        self.next, self.end, self.step = first, end, step
        self.process = None

    def start(self):
        places = map(str, (self.next, self.end, self.step))
        command = [sys.executable, "-m", "tests.fuzz", "--worker", *places]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.heard, self.running, self.buffer = time.monotonic(), None, b""

    def listen(self):
        """Read what it says -> list of (case, outcome)."""
        content = os.read(self.process.stdout.fileno(), 1 << 16)
        self.heard = time.monotonic()
        *lines, self.buffer = (self.buffer + content).split(b"\n")
        found = []
        for line in map(json.loads, lines):
            if "begins" in line:
                self.running = line["begins"]
            else:
                found.append((line["ends"], line["outcome"]))
                self.next, self.running = line["ends"] + self.step, None
        if not content:
            found += self.ended(f"the process ended with status {self.process.wait()}")
        return found

    def ended(self, reason):
        """It is no more: its case failed, and a new one goes on after it."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        found = [] if self.running is None else [(self.running, reason)]
        self.next = self.next if self.running is None else self.running + self.step
        self.process = None
        if self.next < self.end:
            self.start()
        return found


def outcomes(first, end, n_workers):
    """Generate (case, outcome) of all cases."""
    workers = [Worker(first + k, end, n_workers) for k in range(min(n_workers, end - first))]
    for worker in workers:
        worker.start()
    while busy := [worker for worker in workers if worker.process]:
        ready, _, _ = select.select([worker.process.stdout for worker in busy], [], [], 1)
        for worker in busy:
            if worker.process.stdout in ready:
                yield from worker.listen()
            elif worker.running is not None and time.monotonic() - worker.heard > PATIENCE:
                yield from worker.ended(f"no end after {PATIENCE} s")


def main():
    args = parse_args()
    if args.worker:
        work(*args.worker)
        return
    from system import device

    device.start_tensorflow("-1")
    from tests.fuzz.cases import READ, REFUSED, Cases
    from tests.fuzz.targets import TARGETS

    if args.case is not None:
        folder = tempfile.mkdtemp()
        Cases(tempfile.mkdtemp()).keep(args.case, folder)
        print(
            f"{TARGETS[args.case % len(TARGETS)].name}: {Cases(tempfile.mkdtemp()).run(args.case)}; its files: {folder}"
        )
        return
    table, failures = collections.defaultdict(collections.Counter), []
    end, started = args.first + args.cases, time.monotonic()
    for done, (number, outcome) in enumerate(outcomes(args.first, end, args.workers), 1):
        name = TARGETS[number % len(TARGETS)].name
        table[name][outcome if outcome in (READ, REFUSED) else "failure"] += 1
        if outcome not in (READ, REFUSED):
            failures.append((number, name, outcome))
            print(f"case {number}, {name}: {outcome}", flush=True)
        if done % 1000 == 0:
            print(f"{done} of {args.cases} in {time.monotonic() - started:.0f} s", flush=True)
    print(f"\n| {'what':26s} | read | refused | failures |\n|{'-' * 28}|---:|---:|---:|")
    for name in (target.name for target in TARGETS):
        read, refused, failed = (table[name][key] for key in (READ, REFUSED, "failure"))
        print(f"| {name:26s} | {read:4d} | {refused:7d} | {failed:8d} |")
    sums = [sum(one[key] for one in table.values()) for key in (READ, REFUSED, "failure")]
    print(f"| {'all':26s} | {sums[0]:4d} | {sums[1]:7d} | {sums[2]:8d} |")
    sys.exit(1 if failures or sum(sums) != args.cases else 0)


if __name__ == "__main__":
    main()
