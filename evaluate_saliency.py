"""Is the map right? How well it finds the thing that a word names, and whether the captioner depends on what it shows.

    python evaluate_saliency.py --dataset Demo
    python evaluate_saliency.py --dataset COCO --methods all --faithfulness
    python evaluate_saliency.py --dataset Flickr8k --split validate --experiment experiments/pretrained/flickr8k \\
        --methods single_descriptor best --limit 100

Demo knows where every named thing is in every frame: for each clip of the split the words of a caption that name
something (nouns, looks, verbs) are scored. Of photographs the noun phrases are scored that have boxes in Flickr30k
Entities (Flickr30k, Flickr8k), or the words that name a category with masks (COCO). README.md defines the measures
("Is the map right?") and the methods ("Other methods").

Tables are printed of every measure of every method, of what they are above the frame's centre and the paper's maps, and
of the pointing game for each kind of word, all with 95 % intervals. All numbers go to `saliency_scores-<dataset>.json`
(of Demo `saliency_scores.json`) in the experiment's folder, or to --output; beside it stands a page of examples with
the ten worst: `saliency_examples-<dataset>.png`.
"""

import argparse
import functools
import itertools
import sys

import cfg
from system import device, errors, files
from system.errors import UserError

TRUTH = {"Flickr30k": "DATA/Flickr30kEntities", "Flickr8k": "DATA/Flickr30kEntities", "COCO": "DATA/COCO"}
WELL_KNOWN = 400  # so often the last word of a phrase was seen in training
SIZES = (0.02, 0.05, 0.15, 0.4, 1)  # of what a phrase names, as a share of the picture: the upper ends of classes
MEASURES = {  # name -> title of its column, what its numbers are multiplied with, and their decimals
    "pointing": ("pointing", 100, 1),
    "pointing_15": ("15 px", 100, 1),
    "pointing_frame": ("by frame", 100, 1),
    "correctness": ("correct", 100, 1),
    "auc": ("AUC", 100, 1),
    "temporal": ("temporal", 100, 1),
    "faithfulness": ("faithful", 1, 2),
}
SEVERAL_SIZES = {False: "one size", True: "several sizes"}
BASES = {"centre": "centre", "paper's": "single_descriptor"}  # "pointing - centre": a measure minus that of a base


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cfg.add_arguments(parser, datasets=("Demo", *TRUTH))
    parser.add_argument(
        "--split",
        choices=("validate", "dev", "test"),
        default="test",
        help="not of COCO; dev is validate; default: test",
    )
    parser.add_argument("--truth", metavar="DIR", help="boxes or masks of photographs: Flickr30k Entities, or COCO")
    parser.add_argument(
        "--experiment", metavar="DIR", help="default: experiments/<dataset>, for COCO the bundled captioner"
    )
    parser.add_argument("--output", metavar="DIR", help="where the numbers go; default: the experiment's folder")
    parser.add_argument("--checkpoint", type=int, metavar="NUMBER", help="default: the best on validation")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N media")
    parser.add_argument(
        "--methods",
        metavar="NAME",
        nargs="+",
        help="the ways to compute the maps (README.md), and the baselines untrained and mean_map; or all; default: the "
        "paper's",
    )
    parser.add_argument(
        "--phrase",
        choices=("mean", "max", "head"),
        default="mean",
        help="the map of a phrase: the mean of its words' (default), their maximum, or its last word's",
    )
    parser.add_argument("--faithfulness", action="store_true", help="measure deletion and insertion as well")
    device.add_arguments(parser)
    args = parser.parse_args()
    if args.limit is not None and args.limit < 1:
        parser.error("--limit must be at least 1")
    if args.split == "dev":
        args.split = "validate"
    return args


def chosen_methods(names):
    """The names of the methods to score; UserError for one that there is not."""
    from evaluation import scoring
    from explain import attribution

    names = list(dict.fromkeys(names or [attribution.PAPERS]))
    for name in names:
        attribution.check(name, "--methods", (*scoring.BASELINES, "all"))
    return [*attribution.METHODS, *scoring.BASELINES] if "all" in names else names


def find_cases(args, saved, eye):
    """A function that generates the cases (scoring.Case) of the data set, and the number of their captions.

    UserError where data are missing.
    """
    from datasets import annotations, grounding
    from evaluation import scoring

    if args.dataset != "COCO":
        saved.check_dataset(args.dataset)
    if args.dataset == "Demo":
        chosen = annotations.split_media(annotations.read_media(saved.config), args.split)[: args.limit]
        return functools.partial(scoring.clips, eye, chosen), len(chosen)
    truth = args.truth or TRUTH[args.dataset]
    if args.dataset == "COCO":
        captioned = grounding.read_coco(truth)
        images = set(list(dict.fromkeys(one.image for one in captioned))[: args.limit])
        captioned = [one for one in captioned if one.image in images]
    else:
        media = annotations.split_media(annotations.read_media(saved.config), args.split)
        captioned = grounding.read_entities(truth, media[: args.limit])
    return functools.partial(scoring.photographs, eye, captioned), len(captioned)


def groups_of(results, by_word):
    """Which phrases each row of the table is about -> dict of name -> list of their numbers."""

    def of(key, value):
        return [k for k, one in enumerate(results.about) if one[key] == value]

    kinds = sorted({one["kind"] for one in results.about})
    groups = {"all": list(range(len(results.about)))}
    if by_word:
        words = sorted({(one["kind"], one["words"]) for one in results.about})
        groups |= {f"all {kind}s": of("kind", kind) for kind in kinds} | {word: of("words", word) for _, word in words}
        return groups
    groups[f"seen {WELL_KNOWN} times"] = [k for k, one in enumerate(results.about) if one["n_seen"] >= WELL_KNOWN]
    groups["seen less"] = [k for k, one in enumerate(results.about) if 0 < one["n_seen"] < WELL_KNOWN]
    groups["not known"] = of("n_seen", 0)
    area = [chance["pointing"] for chance in results.scores["chance"]]  # the share of the picture that the thing takes
    for low, high in itertools.pairwise((-1, *SIZES)):
        groups[f"size to {high:.0%}"] = [k for k, share in enumerate(area) if low < share <= high]
    groups |= {kind: of("kind", kind) for kind in kinds}
    return {name: numbers for name, numbers in groups.items() if numbers}


def tabulate(results, by_word):
    """Averages with intervals: dict of row -> {"n": ..., method: {measure: (mean, low, high)}}.

    Every measure is also given minus that of each of the BASES. The row "mean of kinds" has the means of their means.
    """
    from evaluation import localization

    scores, table = _with_differences(results.scores), {}
    kinds, pictures = ([one[key] for one in results.about] for key in ("kind", "group"))
    for name, numbers in groups_of(results, by_word).items():
        own = [pictures[k] for k in numbers]
        table[name] = {"n": len(numbers), "pictures": len(set(own))}
        for method, found in scores.items():
            table[name][method] = localization.average([found[k] for k in numbers], own)
    if not by_word and len(set(kinds)) > 1:
        table["mean of kinds"] = {"n": len(set(kinds)), "pictures": len(set(pictures))}
        table["mean of kinds"] |= {name: localization.average(found, pictures, kinds) for name, found in scores.items()}
    return table


def _with_differences(scores):
    """Scores of every phrase by every method, with what they are above those of the BASES."""
    more = {method: [dict(score) for score in found] for method, found in scores.items()}
    bases = {name: method for name, method in BASES.items() if method in scores}
    for (name, base), method in itertools.product(bases.items(), scores):
        if method != base:
            for score, low in zip(more[method], scores[base], strict=True):
                score |= {f"{measure} - {name}": score[measure] - low[measure] for measure in low if measure in score}
    return more


def _title(measure):
    name, *base = measure.partition(" - ")
    return MEASURES[name][0] + "".join(base)


def _cell(found, measure):
    """A mean with its interval, as it is printed."""
    _, scale, n = MEASURES[measure.partition(" - ")[0]]
    mean, low, high = (scale * value for value in found)
    return f"{mean:.{n}f} [{low:.{n}f}, {high:.{n}f}]"


def show_methods(row, measures, seconds):
    """Print some measures of a row, a line a method: means with intervals; and what of `seconds` a word is known."""
    titles = "".join(f"{_title(name):>24s}" for name in measures)
    print(f"{'':22s}{titles}" + f"{'ms a word':>11s}" * bool(seconds))
    for method in row:
        if method in ("n", "pictures"):
            continue
        cells = [_cell(row[method][name], name) if name in row[method] else "" for name in measures]
        cost = f"{1000 * seconds[method]:11.1f}" if method in seconds else ""
        print(f"{method:22s}" + "".join(f"{cell:>24s}" for cell in cells) + cost)


def show_rows(table, measure):
    """Print one measure of every row and method."""
    methods = [method for method in table["all"] if method not in ("n", "pictures")]
    print(f"{'':16s}{'n':>6s}" + "".join(f"{method:>22s}" for method in methods))
    for name, row in table.items():
        cells = [_cell(row[method][measure], measure) if measure in row[method] else "" for method in methods]
        print(f"{name:16s}{row['n']:6d}" + "".join(f"{cell:>22s}" for cell in cells))


def show(about, table):
    """Print the tables: `table` as from `tabulate`; about: what is stored beside it in the JSON file."""
    everything, hidden = table["all"], about["cut_off"]
    there = {name for method in everything if method not in ("n", "pictures") for name in everything[method]}
    count = f"{everything['n']} phrases of {everything['pictures']} pictures"
    print(f"{count}, --phrase {about['phrase']}; in %, faithfulness in nats")
    show_methods(everything, [name for name in MEASURES if name in there], about["seconds"])
    above = [f"{measure} - {base}" for base in BASES for measure in MEASURES if measure.startswith("pointing")]
    print("\nthe pointing game, minus that of the frame's centre and of the paper's maps")
    show_methods(everything, [name for name in above if name in there], {})
    for name, cost in about["cnn_seconds"].items():
        print(f"the CNN, {name}: {1000 * cost:.0f} ms a picture")
    if hidden["cut"]:
        share = f"{hidden['share']:.0%} of all of them is out of sight"
        print(f"the crop cuts {hidden['cut']} regions, {hidden['wholly']} of them wholly: {share}")
    for measure in ("pointing", "pointing_15"):
        if measure in everything["chance"]:
            print(f"\n{MEASURES[measure][0]}, in %")
            show_rows(table, measure)


def cut_off(results):
    """What the geometry of the captioner hides of the regions: how many it cuts, how many wholly, their mean share."""
    shares = [one["cut_off"] for one in results.about if one["cut_off"] == one["cut_off"]]  # nan: smaller than a place
    share = sum(shares) / len(shares) if shares else 0.0
    return {"cut": sum(s > 0 for s in shares), "wholly": sum(s == 1 for s in shares), "share": share}


def main():
    args = parse_args()
    device.start_tensorflow(args.gpu)
    import numpy as np
    from tqdm import tqdm

    from captioner import checkpoint
    from evaluation import examples_page, scoring
    from explain import explanation

    experiment = args.experiment or (cfg.BUNDLED if args.dataset == "COCO" else cfg.DATASETS[args.dataset].experiment)
    methods = chosen_methods(args.methods)
    saved = checkpoint.load(checkpoint.choose(experiment, args.checkpoint), args.set, explanation.SETTINGS)
    eye = scoring.Eye(saved)
    cases, n_captions = find_cases(args, saved, eye)
    folder = files.writable_folder(args.output or cfg.output_folder(experiment))
    times = 1 + (scoring.MEAN_MAP in methods)
    progress = tqdm(total=times * n_captions, unit="caption", desc="scoring")
    with progress:
        results = scoring.score(lambda: _told(cases(), progress), methods, args.phrase, args.faithfulness)
    if not results.about:
        raise UserError(
            "no phrase to score: is there a picture that can be read, with a place for words of its captions?"
        )

    table = tabulate(results, by_word=args.dataset == "Demo")
    seconds = {name: float(np.median(found)) for name, found in eye.seconds.items()}
    looking = {SEVERAL_SIZES[several]: float(np.median(found)) for several, found in eye.cnn_seconds.items()}
    suffix = "" if args.dataset == "Demo" else f"-{args.dataset}"
    about = {"split": None if args.dataset == "COCO" else args.split, "checkpoint": saved.state["step"]}
    about |= {"phrase": args.phrase, "seconds": seconds, "cnn_seconds": looking, "cut_off": cut_off(results)}
    about["unread"] = {str(path): reason for path, reason in eye.unread.items()}
    files.write_json(folder / f"saliency_scores{suffix}.json", {**about, "scores": table})
    page = folder / f"saliency_examples{suffix}.png"
    examples_page.write(page, cases, results, methods, args.phrase)
    show(about, table)
    print(f"these numbers: {folder / f'saliency_scores{suffix}.json'}\nexamples: {page}", file=sys.stderr)


def _told(cases, progress):
    """The cases, counted."""
    for case in cases:
        yield case
        progress.update()


if __name__ == "__main__":
    errors.run(main)
