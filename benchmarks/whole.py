"""Whole commands, from Enter to the end, beside an earlier version of the program.

    python benchmarks/whole.py                                  (a quarter of an hour on two cores)
    python benchmarks/whole.py start photographs                (some rows only)
    python benchmarks/whole.py --before ../earlier              (a checkout of another version takes turns)

start: `visualization.py` on a photograph, its own caption and a given sentence, and what `import tensorflow` takes;
photographs: own captions and maps of many, of 8 x 8 cells (--format npz: without pictures); evaluation:
`evaluate_saliency.py --dataset COCO --methods all --faithfulness` on some photographs of DATA/COCO (or --coco), left
out where there are none; sharing: stage 1 of photographs by one process, and by two with a core each.
Medians of --rounds rounds, in which the contenders take turns.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import bench
import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent.parent
SMALL = ("--set", "saliency_input_size=256")
ONE_CORE = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1"}


def write_photographs(folder, number):
    """Pictures of 640 x 480 with large and small structure, which compress as photographs do -> their paths."""
    folder.mkdir(parents=True)
    rng, paths = np.random.default_rng(0), []
    for k in range(number):
        layers = [rng.integers(0, 256, (480 // size, 640 // size, 3), np.uint8) for size in (120, 40, 10)]
        layers = [
            np.asarray(Image.fromarray(one).resize((640, 480), Image.Resampling.BICUBIC), float) for one in layers
        ]
        paths.append(folder / f"photograph{k}.jpg")
        Image.fromarray(np.average(layers, axis=0, weights=(4, 2, 1)).astype(np.uint8)).save(paths[-1], quality=90)
    return paths


def seconds(*commands, cwd, environment=()):
    """How long Python commands take that start together, in seconds."""
    start, environment = time.perf_counter(), {**os.environ, **dict(environment)}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = [
        subprocess.Popen([sys.executable, *map(str, one)], cwd=cwd, env=environment, **quiet) for one in commands
    ]
    ended = [process.wait() for process in started]  # all of them
    if any(ended):
        raise SystemExit(f"{' '.join(map(str, commands[0]))} failed in {cwd}")
    return time.perf_counter() - start


def start(version, folder, args):
    """Seconds to a picture."""
    (photograph,) = write_photographs(folder / "one", 1)
    show = (version / "visualization.py", "--media", photograph, "--output", folder / "out")
    return {
        "import tensorflow": seconds(("-c", "import tensorflow"), cwd=version),
        "own caption": seconds(show, cwd=version),
        "given sentence": seconds((*show, "--sentence", "a man rides a bicycle"), cwd=version),
    }


def photographs(version, folder, args):
    """Seconds for many photographs; the start is in them."""
    paths = write_photographs(folder / "many", args.photographs)
    show = (version / "visualization.py", "--media", *paths, *SMALL, "--output", folder / "out")
    found = {f"{args.photographs} photographs, with pictures": seconds(show, cwd=version)}
    if can_share(version):
        found[f"{args.photographs} photographs, maps alone"] = seconds((*show, "--format", "npz"), cwd=version)
        halves = [(*show, "--shard", f"{k}/2") for k in (1, 2)]
        found["the same with pictures, two processes of a core each"] = seconds(
            *halves, cwd=version, environment=ONE_CORE
        )
    return found


def evaluation(version, folder, args):
    """Seconds for all methods and faithfulness on some photographs of COCO."""
    truth = Path(args.coco).resolve()
    if not truth.is_dir():
        print(f"no photographs in {args.coco}: the row of the evaluation is left out", file=sys.stderr)
        return {}
    command = (version / "evaluate_saliency.py", "--dataset", "COCO", "--truth", truth, "--methods", "all")
    asked = ("--faithfulness", "--limit", args.scored, "--output", folder / "scores")
    return {f"{args.scored} photographs of COCO, all methods": seconds((*command, *asked), cwd=version)}


def sharing(version, folder, args):
    """Seconds of stage 1, by one process with two cores, by one with a core, and by two."""
    if not can_share(version):
        return {}
    found = {}
    for name, n_workers, environment in (
        ("stage 1, one process, both cores", 1, {}),
        ("stage 1, one process, one core", 1, ONE_CORE),
        ("stage 1, two processes of a core each", 2, ONE_CORE),
    ):
        data = folder / f"stage 1 {len(found)}"
        paths = write_photographs(data / "Flickr8k/Flicker8k_Dataset", args.photographs)
        names = [path.name for path in paths]
        (data / "Flickr8k/Flickr8k.token.txt").write_text("".join(f"{name}#0\ta dog runs\n" for name in names))
        for split in ("train", "dev", "test"):
            text = "\n".join(names) if split == "train" else ""
            (data / f"Flickr8k/Flickr_8k.{split}Images.txt").write_text(text + "\n")
        settings = (f"data_dir={data / 'Flickr8k'}", f"descriptors_root={data / 'descriptors'}")
        command = (version / "preprocessing.py", "--dataset", "Flickr8k", *(w for s in settings for w in ("--set", s)))
        found[name] = seconds(*[command] * n_workers, cwd=version, environment=environment)
    return found


def can_share(version):
    """Whether a version of the program has --shard and --format npz."""
    return (version / "system/claims.py").exists()


ROWS = {"start": start, "photographs": photographs, "evaluation": evaluation, "sharing": sharing}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="row", help=f"of {', '.join(ROWS)} (default: all)")
    parser.add_argument("--before", type=bench.checkout, metavar="DIR", help="a checkout of an earlier version")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument("--photographs", type=int, default=200, metavar="N", help="how many are many; default: 200")
    parser.add_argument("--coco", default="DATA/COCO", metavar="DIR", help="photographs to score; default: DATA/COCO")
    parser.add_argument("--scored", type=int, default=12, metavar="N", help="how many of them; default: 12")
    args = parser.parse_args()
    if odd := set(args.rows) - set(ROWS):
        parser.error(f"no row {min(odd)}; the rows are {', '.join(ROWS)}")
    versions = {"before": args.before} if args.before else {}
    versions["now"] = HERE
    print(f"| | {' | '.join(versions)} |\n|---|{'---|' * len(versions)}")
    for row in args.rows or ROWS:
        found = {}
        for _ in range(args.rounds):
            for name, version in versions.items():
                with tempfile.TemporaryDirectory() as folder:
                    for what, taken in ROWS[row](version, Path(folder), args).items():
                        found.setdefault(what, {}).setdefault(name, []).append(taken)
        for what, by_version in found.items():
            cells = [f"{statistics.median(by_version[one]):.1f} s" if one in by_version else "" for one in versions]
            print(f"| {what} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
