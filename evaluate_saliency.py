"""Is the map right? How often its maximum lies on the thing that the word names.

    python evaluate_saliency.py --dataset Demo
    python evaluate_saliency.py --dataset Flickr8k --split validate --limit 200
    python evaluate_saliency.py --dataset COCO --experiment experiments/Flickr8k --set saliency_input_size=512
    python evaluate_saliency.py --dataset COCO --methods all --limit 10

The pointing game on raw maps, beside what the frame's centre and a random pixel get. Demo knows where every named
thing is in every frame: for each clip of the split the words of a caption that name something (nouns, looks, verbs) are
scored. Of photographs the noun phrases are scored that have boxes in Flickr30k Entities (Flickr30k, Flickr8k), or the
words that name a category with masks (COCO), by the maximum of the mean map of the phrase's words. The table also goes
to `saliency_scores.json` (of photographs `saliency_scores-<dataset>.json`) in the experiment's folder, or to --output.
"""

import argparse
import collections
import functools
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
        help="of photographs: the ways to compute the maps (README.md), or all; default: the paper's",
    )
    device.add_arguments(parser)
    args = parser.parse_args()
    if args.limit is not None and args.limit < 1:
        parser.error("--limit must be at least 1")
    if args.methods and args.dataset == "Demo":
        parser.error("--methods is for photographs")
    return args


def chosen_methods(names):
    """The names of the methods to score; UserError for one that there is not."""
    import attribution

    if names == ["all"]:
        return list(attribution.METHODS)
    names = list(dict.fromkeys(names or [attribution.PAPERS]))
    for name in names:
        attribution.check(name, "--methods")
    return names


def evaluate(saved, split, limit=None):
    """Score every naming word of one caption a clip: the caption at place k modulo their number, for clip k.

    -> dict of word -> list of pointing.score_word's results. UserError where data or media are missing.
    """
    from tqdm import tqdm

    import annotations
    import demo_data
    import explanation
    import pointing

    extractor = explanation.load_cnn(saved)
    chosen = annotations.split_media(annotations.read_media(saved.config), split)[:limit]
    scores = collections.defaultdict(list)
    for k, medium in enumerate(tqdm(chosen, unit="clip", desc="pointing game")):
        sentence = medium.captions[k % len(medium.captions)]
        query = explanation.parse_sentence(sentence, saved.vocabulary, saved.config.n_lstm_step, "skip")
        raw_maps = explanation.explain_video(saved, extractor, medium.path, query, "linear").raw_maps  # [F, T, Gy, Gx]
        truth = demo_data.load_truth(saved.config.data_dir, medium.id)
        for t, word in enumerate(query.words):
            named = demo_data.word_things(truth, word)
            if named:
                scored = pointing.score_word(raw_maps[:, t], truth.masks[named].any(axis=0))
                scores[word] += [scored] if scored else []
    return scores


def captioned_images(args, saved):
    """The captions of photographs, with the regions of their phrases: list of grounding.CaptionedImage."""
    import annotations
    import grounding

    truth = args.truth or TRUTH[args.dataset]
    if args.dataset == "COCO":
        return grounding.read_coco(truth)
    saved.check_dataset(args.dataset)
    media = annotations.split_media(annotations.read_media(saved.config), args.split)
    return grounding.read_entities(truth, media[: args.limit])


def evaluate_photographs(saved, captioned, methods, limit=None):
    """Score every phrase of the captions that has a word which the captioner knows.

    -> dict of method -> list of (kind, how often its last word was seen in training, pointing.score_phrase's result).
    """
    from tqdm import tqdm

    import explanation
    import media
    import pointing

    extractor, scored = explanation.load_cnn(saved), {method: [] for method in methods}
    of_image = collections.defaultdict(list)
    for one in captioned:
        of_image[one.image].append(one)
    for path, captions in tqdm(list(of_image.items())[:limit], unit="image", desc="pointing game"):
        try:
            image = media.read_image(path)
        except UserError as error:  # the others count all the same
            errors.report(error)
            continue
        grids = explanation.image_grids(saved, extractor, image)
        (height, width), box = image.shape[:2], explanation.seen_box(saved, image)
        for one, method in itertools.product(captions, methods):
            maps_of = functools.partial(explanation.maps_by, method, saved, extractor, grids)
            for phrase, raw_map in explanation.phrase_maps(saved, maps_of, one.words, one.phrases):
                score = pointing.score_phrase(raw_map, phrase.region, height, width, box)
                n_seen = saved.vocabulary.counts.get(one.words[phrase.places[-1]], 0)
                scored[method].append((phrase.kind, n_seen, score))
    return scored


def tabulate_photographs(scored):
    """Rows (name, averages): all phrases, those whose last word is well known, and each size and kind."""
    import pointing

    groups = {"all": scored, f"seen {WELL_KNOWN} times": [one for one in scored if one[1] >= WELL_KNOWN]}
    for low, high in itertools.pairwise((-1, *SIZES)):
        groups[f"size to {high:.0%}"] = [one for one in scored if low < one[2]["chance"] <= high]
    groups |= {kind: [one for one in scored if one[0] == kind] for kind in sorted({kind for kind, *_ in scored})}
    return [(name, pointing.average([score for *_, score in group])) for name, group in groups.items() if group]


def tabulate(scores):
    """Rows (name, averages): each class of words, then each word."""
    import demo_data
    import pointing

    classes = collections.defaultdict(list)
    for word, scored in scores.items():
        classes[demo_data.WORD_CLASSES[word]] += scored
    rows = [(f"all {name}s", pointing.average(scored)) for name, scored in classes.items()]
    words = sorted(scores, key=lambda word: (demo_data.WORD_CLASSES[word], word))
    return rows + [(word, pointing.average(scores[word])) for word in words]


def show(rows, titles, columns):
    """Print a table of shares, in per cent: `titles` over every three of the columns."""
    head = "".join(f" | {title:>7s}{'centre':>8s}{'chance':>8s}" for title in titles)
    print(f"{'':14s}{'n':>6s}{head}")
    for name, row in rows:
        shares = [f"{100 * row[column]:{7 if k % 3 == 0 else 8}.1f}" for k, column in enumerate(columns)]
        groups = "".join(" | " + "".join(shares[k : k + 3]) for k in range(0, len(shares), 3))
        print(f"{name:14s}{row['n']:6d}{groups}")


def main():
    args = parse_args()
    device.start_tensorflow(args.gpu)
    import checkpoint
    import explanation
    import pointing

    experiment = args.experiment or (cfg.BUNDLED if args.dataset == "COCO" else cfg.DATASETS[args.dataset].experiment)
    methods = chosen_methods(args.methods)
    saved = checkpoint.load(checkpoint.choose(experiment, args.checkpoint), args.set, explanation.SETTINGS)
    tables = {}
    if args.dataset == "Demo":
        saved.check_dataset(args.dataset)
        rows = tabulate(evaluate(saved, args.split, args.limit))
        print("maxima on the thing (%): over the whole clip, and frame by frame where it is seen")
        show(rows, ("clip", "frame"), pointing.SCORES)
    else:
        scored = evaluate_photographs(saved, captioned_images(args, saved), methods, args.limit)
        tables = {method: tabulate_photographs(found) for method, found in scored.items()}
        rows, titles = tables[methods[0]], ("strict", f"{pointing.TOLERANCE} px")
        if not rows:
            raise UserError(f"no phrase to score: is there an image with regions, and a word that {experiment} knows?")
        print(f"maxima on the thing (%): strictly, and with {pointing.TOLERANCE} pixels beside it")
        for method, table in tables.items():
            print(f"\n{method}")
            show(table if len(tables) == 1 else table[:2], titles, pointing.PHRASE_SCORES)
    name = "saliency_scores.json" if args.dataset == "Demo" else f"saliency_scores-{args.dataset}.json"
    path = Path(args.output or cfg.output_folder(experiment)) / name
    about = {"split": None if args.dataset == "COCO" else args.split, "checkpoint": saved.state["step"]}
    others = {"methods": {method: dict(table) for method, table in tables.items()}} if len(tables) > 1 else {}
    files.write_json(path, {**about, "scores": dict(rows), **others})
    print(f"these numbers: {path}", file=sys.stderr)


if __name__ == "__main__":
    errors.run(main)
