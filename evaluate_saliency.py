"""Is the map right? How often its maximum lies on the thing that the word names.

    python evaluate_saliency.py --dataset Demo
    python evaluate_saliency.py --dataset Demo --split validate --limit 20

Demo knows where every named thing is in every frame. For each clip of the split the words of its captions that name
something (nouns, looks, verbs) are scored on raw maps by the pointing game, beside what the frame's centre and a random
pixel get. The table also goes to `saliency_scores.json` in the experiment's folder.
"""

import argparse
import collections
import sys
from pathlib import Path

import cfg
import device
import errors
import files


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cfg.add_arguments(parser, datasets=("Demo",))
    parser.add_argument("--split", choices=("validate", "test"), default="test", help="default: test")
    parser.add_argument("--experiment", metavar="DIR", help="the experiment's folder (default: experiments/<dataset>)")
    parser.add_argument("--checkpoint", type=int, metavar="NUMBER", help="default: the best on validation")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N media of the split")
    device.add_arguments(parser)
    args = parser.parse_args()
    if args.limit is not None and args.limit < 1:
        parser.error("--limit must be at least 1")
    return args


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


def main():
    args = parse_args()
    device.start_tensorflow(args.gpu)
    import checkpoint
    import explanation

    experiment = args.experiment or cfg.DATASETS[args.dataset].experiment
    saved = checkpoint.load(checkpoint.choose(experiment, args.checkpoint), args.set, explanation.SETTINGS)
    saved.check_dataset(args.dataset)
    rows = tabulate(evaluate(saved, args.split, args.limit))

    print("share of maps whose maximum lies on the thing (%): over the whole clip, and frame by frame where it is seen")
    print(
        f"{'':14s}{'words':>6s} | {'clip':>6s}{'centre':>8s}{'chance':>8s} | {'frame':>6s}{'centre':>8s}{'chance':>8s}"
    )
    for name, row in rows:
        shares = [100 * row[score] for score in ("clip", "clip_centre", "clip_chance")]
        shares += [100 * row[score] for score in ("frame", "frame_centre", "frame_chance")]
        print("{:14s}{:6d} | {:6.1f}{:8.1f}{:8.1f} | {:6.1f}{:8.1f}{:8.1f}".format(name, row["n"], *shares))
    path = Path(experiment) / "saliency_scores.json"
    files.write_json(path, {"split": args.split, "checkpoint": saved.state["step"], "scores": dict(rows)})
    print(f"these numbers: {path}", file=sys.stderr)


if __name__ == "__main__":
    errors.run(main)
