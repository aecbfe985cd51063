"""Is the map right? How well it finds the thing that a word names, and whether the captioner depends on what it shows.

    python evaluate_saliency.py --dataset Demo
    python evaluate_saliency.py --dataset COCO --methods all --faithfulness
    python evaluate_saliency.py --dataset Flickr8k --split validate --experiment experiments/pretrained/flickr8k \\
        --methods single_descriptor best --limit 100

Demo knows where every named thing is in every frame: for each clip of the split the words of a caption that name
something (nouns, looks, verbs) are scored. Of photographs the noun phrases are scored that have boxes in Flickr30k
Entities (Flickr30k, Flickr8k), or the words that name a category with masks (COCO). README.md defines the measures
("Is the map right?") and the methods ("Other methods").

Two tables are printed: every measure of every method, with 95 % intervals; and the pointing game for each kind of word.
All numbers go to `saliency_scores-<dataset>.json` (of Demo `saliency_scores.json`) in the experiment's folder, or to
--output; and, beside it, a page of examples with the ten worst: `saliency_examples-<dataset>.png`.
"""

import argparse
import itertools
import sys
from pathlib import Path

import cfg
import device
import errors
import files
from errors import UserError

TRUTH = {"Flickr30k": "DATA/Flickr30kEntities", "Flickr8k": "DATA/Flickr30kEntities", "COCO": "DATA/COCO"}
WELL_KNOWN = 400  # a word that was seen so often in training
SIZES = (0.02, 0.05, 0.15, 0.4, 1)  # of what a phrase names, as a share of the picture: the upper ends of classes
MEASURES = {  # name -> title of its column, and what its numbers are multiplied with
    "pointing": ("pointing", 100),
    "pointing_15": ("15 px", 100),
    "pointing_frame": ("by frame", 100),
    "correctness": ("correct", 100),
    "auc": ("AUC", 100),
    "temporal": ("temporal", 100),
    "faithfulness": ("faithful", 1),
}
ABOVE = " - centre"  # the name of a measure minus that of the frame's centre


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cfg.add_arguments(parser, datasets=("Demo", *TRUTH))
    parser.add_argument("--split", choices=("validate", "test"), default="test", help="not of COCO; default: test")
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
    return args


def chosen_methods(names):
    """The names of the methods to score; UserError for one that there is not."""
    import attribution
    import scoring

    names = list(dict.fromkeys(names or [attribution.PAPERS]))
    if names == ["all"]:
        return [*attribution.METHODS, *scoring.BASELINES]
    for name in names:
        attribution.check(name, "--methods", scoring.BASELINES)
    return names


def find_cases(args, saved, eye):
    """A function that generates the cases (scoring.Case) of the data set; UserError where data are missing."""
    import annotations
    import grounding
    import scoring

    if args.dataset != "COCO":
        saved.check_dataset(args.dataset)
    if args.dataset == "Demo":
        return lambda: scoring.clips(eye, args.split, args.limit)
    truth = args.truth or TRUTH[args.dataset]
    if args.dataset == "COCO":
        captioned = grounding.read_coco(truth)
    else:
        media = annotations.split_media(annotations.read_media(saved.config), args.split)
        captioned = grounding.read_entities(truth, media[: args.limit])
    return lambda: scoring.photographs(eye, captioned, args.limit)


def groups_of(results, by_word):
    """Which phrases each row of the table is about -> dict of name -> list of their numbers."""
    kinds = sorted({one["kind"] for one in results.about})
    area = [chance["pointing"] for chance in results.scores["chance"]]  # share of the picture
    rules = {"all": lambda k, one: True}
    if by_word:
        rules |= {f"all {kind}s": lambda k, one, kind=kind: one["kind"] == kind for kind in kinds}
        words = sorted({(one["kind"], one["words"]) for one in results.about})
        rules |= {word: lambda k, one, word=word: one["words"] == word for _, word in words}
    else:
        rules[f"seen {WELL_KNOWN} times"] = lambda k, one: one["n_seen"] >= WELL_KNOWN
        for low, high in itertools.pairwise((-1, *SIZES)):
            rules[f"size to {high:.0%}"] = lambda k, one, low=low, high=high: low < area[k] <= high
        rules |= {kind: lambda k, one, kind=kind: one["kind"] == kind for kind in kinds}
    chosen = {name: [k for k, one in enumerate(results.about) if rule(k, one)] for name, rule in rules.items()}
    return {name: numbers for name, numbers in chosen.items() if numbers}


def tabulate(results, by_word):
    """Averages with intervals: dict of row -> {"n": ..., method: {measure: (mean, low, high)}}.

    Measures of the centre are also given minus those (`ABOVE`). The row "mean of kinds" has plain means.
    """
    import localization

    centre, table = results.scores["centre"], {}
    for name, numbers in groups_of(results, by_word).items():
        pictures = [results.about[k]["group"] for k in numbers]
        table[name] = {"n": len(numbers), "pictures": len(set(pictures))}
        for method, scores in results.scores.items():
            rows = [{**scores[k], **_above(scores[k], centre[k])} for k in numbers]
            table[name][method] = localization.average(rows, pictures)
    kinds = [table[name] for name in table if name in {one["kind"] for one in results.about}]
    if len(kinds) > 1:
        table["mean of kinds"] = {"n": len(kinds)} | {
            method: {
                measure: [sum(kind[method][measure][0] for kind in kinds if measure in kind[method]) / len(kinds)]
                for measure in table["all"][method]
            }
            for method in results.scores
        }
    return table


def _above(score, centre):
    return {f"{measure}{ABOVE}": score[measure] - centre[measure] for measure in centre}


def show_methods(row, seconds):
    """Print a row's measures, a line a method: means with intervals, and milliseconds a word."""
    methods = [method for method in row if method not in ("n", "pictures")]
    there = {measure for method in methods for measure in row[method]}
    columns = [name for measure in MEASURES for name in (measure, f"{measure}{ABOVE}") if name in there]
    titles = [MEASURES[name.removesuffix(ABOVE)][0] if name in MEASURES else "- centre" for name in columns]
    print(f"{'':22s}" + "".join(f"{title:>21s}" for title in titles) + f"{'ms a word':>11s}")
    for method in methods:
        cells = []
        for name in columns:
            scale = MEASURES[name.removesuffix(ABOVE)][1]
            if name in row[method] and not (method == "centre" and name.endswith(ABOVE)):
                mean, low, high = (scale * value for value in row[method][name])
                cells.append(f"{mean:6.{1 if scale > 1 else 2}f} [{low:5.1f}, {high:5.1f}]")
            else:
                cells.append("")
        cost = f"{1000 * seconds[method]:11.1f}" if method in seconds else ""
        print(f"{method:22s}" + "".join(f"{cell:>21s}" for cell in cells) + cost)


def show_rows(table, measure):
    """Print one measure of every row and method."""
    methods = [method for method in table["all"] if method not in ("n", "pictures")]
    print(f"{'':16s}{'n':>6s}" + "".join(f"{method[:12]:>13s}" for method in methods))
    for name, row in table.items():
        cells = [f"{100 * row[method][measure][0]:13.1f}" if measure in row[method] else "" for method in methods]
        print(f"{name:16s}{row['n']:6d}" + "".join(f"{cell:>13s}" for cell in cells))


def cut_off(results):
    """What the geometry of the captioner hides: how many regions it cuts, how many wholly, and their mean share."""
    shares = [one["cut_off"] for one in results.about if one["cut_off"] == one["cut_off"]]  # nan: smaller than a place
    share = sum(shares) / len(shares) if shares else 0.0
    return {"cut": sum(s > 0 for s in shares), "wholly": sum(s == 1 for s in shares), "share": share}


def main():
    args = parse_args()
    device.start_tensorflow(args.gpu)
    import numpy as np
    from tqdm import tqdm

    import checkpoint
    import examples_page
    import explanation
    import scoring

    experiment = args.experiment or (cfg.BUNDLED if args.dataset == "COCO" else cfg.DATASETS[args.dataset].experiment)
    methods = chosen_methods(args.methods)
    saved = checkpoint.load(checkpoint.choose(experiment, args.checkpoint), args.set, explanation.SETTINGS)
    eye = scoring.Eye(saved)
    cases = find_cases(args, saved, eye)
    progress = tqdm(unit="caption", desc="scoring")
    with progress:
        results = scoring.score(lambda: _told(cases(), progress), methods, args.phrase, args.faithfulness)
    if not results.about:
        raise UserError(f"no phrase to score: is there a picture with regions, and a word that {experiment} knows?")

    table = tabulate(results, by_word=args.dataset == "Demo")
    seconds = {name: float(np.median(found)) for name, found in eye.seconds.items()}
    hidden = cut_off(results)
    everything = table["all"]
    print(f"{everything['n']} phrases of {everything['pictures']} pictures; in %, faithfulness in nats")
    show_methods(everything, seconds)
    for name in (name for name in seconds if name.startswith("CNN")):
        print(f"{name}: {1000 * seconds[name]:.0f} ms a picture")
    if hidden["cut"]:
        print(
            f"the crop cuts {hidden['cut']} regions, {hidden['wholly']} of them wholly: {hidden['share']:.0%} of them"
        )
    print("\npointing game, in %")
    show_rows(table, "pointing")

    suffix = "" if args.dataset == "Demo" else f"-{args.dataset}"
    folder = Path(args.output or cfg.output_folder(experiment))
    about = {"split": None if args.dataset == "COCO" else args.split, "checkpoint": saved.state["step"]}
    about |= {"phrase": args.phrase, "seconds": seconds, "cut_off": hidden}
    files.write_json(folder / f"saliency_scores{suffix}.json", {**about, "scores": table})
    page = folder / f"saliency_examples{suffix}.png"
    examples_page.write(page, cases, results, methods, args.phrase)
    print(f"these numbers: {folder / f'saliency_scores{suffix}.json'}\nexamples: {page}", file=sys.stderr)


def _told(cases, progress):
    """The cases, counted."""
    for case in cases:
        yield case
        progress.update()


if __name__ == "__main__":
    errors.run(main)
