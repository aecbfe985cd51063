"""Stage 2: train the captioner, and score its captions.

    python run_s2vt.py --dataset Flickr8k --train
    python run_s2vt.py --dataset Flickr8k --train --resume
    python run_s2vt.py --dataset Flickr8k COCO PASCAL1k --train          (on all three; the rest is Flickr8k's)
    python run_s2vt.py --dataset Flickr8k --test                              (the best checkpoint on validation)
    python run_s2vt.py --dataset Flickr8k --test --checkpoint 3000 --beam_size 5
    python run_s2vt.py --dataset COCO --test --split train --experiment experiments/Flickr8k       (on other pictures)
    python run_s2vt.py --dataset Flickr8k --export experiments/mine --set beam_size=3    (a small one to hand on)

It reads the descriptors that preprocessing.py stores. --train writes checkpoints `model-<step>`, `loss.tsv`
(checkpoint, train, validation) and TensorBoard's scalars into the experiment's folder, in place of what an earlier
--train left there; --resume goes on from the last checkpoint. It trains on all GPUs that it sees, and with others where
TF_CONFIG says so (docs/scale.md). --test appends a line to `scores.txt` and writes every
prediction to `model-<step>.json`; it takes other data sets of videos, or of images, than the captioner was trained on.
--export writes a checkpoint with float16 weights and without Adam's moments.
"""

import argparse
import sys

import cfg
from datasets import annotations
from system import cluster, device, errors

# What --set may change in a checkpoint to hand on.
EXPORT_SETTINGS = ("beam_size", "length_penalty", "precision", "cnn_precision", "saliency_input_size")


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cfg.add_arguments(parser, several=True)
    stage = parser.add_mutually_exclusive_group(required=True)
    stage.add_argument("--train", action="store_true", help="train; replaces what the experiment's folder holds")
    stage.add_argument("--test", action="store_true", help="caption a split and score the captions")
    stage.add_argument("--export", metavar="DIR", help="write a checkpoint to hand on into another experiment's folder")
    parser.add_argument("--experiment", metavar="DIR", help="the experiment's folder (default: experiments/<dataset>)")
    parser.add_argument("--resume", action="store_true", help="with --train: go on from the last checkpoint")
    parser.add_argument("--checkpoint", type=int, metavar="NUMBER", help="with --test or --export: not the best, this")
    parser.add_argument("--beam_size", type=int, metavar="K", help="short for --set beam_size=K (1: greedy)")
    parser.add_argument("--split", choices=annotations.SPLITS, default="test", help="with --test: which split")
    device.add_arguments(parser)
    args = parser.parse_args(argv)
    if args.resume and not args.train:
        parser.error("--resume goes with --train")
    if len(args.dataset) > 1 and not args.train:
        parser.error("several data sets go with --train")
    if args.beam_size is not None:
        args.set.append(f"beam_size={args.beam_size}")
    return args


def train(args, workers):
    """--train: from the initial weights, or from the last checkpoint, to the last epoch; one of `workers`, if any."""
    from captioner import distribution, training

    config = cfg.from_arguments(args, settings=not args.resume)
    with distribution.joined(workers) as engine, training.locked(config, engine):
        _train(args, training.resume(config, args.set, engine) if args.resume else training.start(config, engine))


def _train(args, trainer):
    from captioner import checkpoint, training

    config = trainer.config
    if not trainer.distribution.is_chief:  # who alone tells
        training.train(trainer)
        return
    print(
        f"{', '.join(config.sources)}: {trainer.samples.n_captions} training captions, {len(trainer.validation)} for "
        f"validation, {len(trainer.vocabulary)} words; {trainer.steps_per_epoch} steps an epoch; from step "
        f"{trainer.step} to {trainer.last_step}; checkpoints go to {config.experiment}"
    )
    try:
        best = training.train(trainer)
    except KeyboardInterrupt:
        print(f"stopped at step {trainer.step}; --train --resume goes on from the last checkpoint", file=sys.stderr)
        raise
    print(
        f"best on validation: checkpoint {best}, loss {checkpoint.validation_loss(config.experiment, best):.4f}; "
        f"all losses: {config.experiment}/loss.tsv"
    )
    experiment = f" --experiment {args.experiment}" if args.experiment else ""
    print(f"next: python run_s2vt.py --dataset {config.dataset} --test{experiment}")


def test(args):
    """--test: print the scores of one checkpoint on one split."""
    from captioner import testing

    experiment = cfg.from_arguments(args, settings=False).experiment
    (dataset,) = args.dataset
    run, predictions = testing.test(dataset, experiment, args.checkpoint, args.split, args.set)
    for warning in run["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)
    print(
        f"{dataset}, {args.split} split, {run['n_media']} media, checkpoint {run['checkpoint']}, "
        f"beam size {run['beam_size']}, length penalty {run['length_penalty']:g}"
    )
    for name in testing.METRICS:
        print(f"  {name:8s}{'missing' if run[name] is None else format(run[name], '7.4f')}")
    print(f"every prediction: {predictions}")


def export(args):
    """--export: a checkpoint without what only training needs."""
    from captioner import checkpoint

    experiment = cfg.from_arguments(args, settings=False).experiment
    saved = checkpoint.load(checkpoint.choose(experiment, args.checkpoint), args.set, EXPORT_SETTINGS)
    saved.check_dataset(*args.dataset)
    folder = checkpoint.publish(saved, args.export)
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{folder}: {size / 1e6:.1f} MB, with {len(saved.vocabulary)} words")


def main(argv=None):
    args = parse_args(argv)
    workers = cluster.read() if args.train else None
    device.start_tensorflow(args.gpu, set_up=workers is None)
    if args.train:
        train(args, workers)
    elif args.test:
        test(args)
    else:
        export(args)


if __name__ == "__main__":
    errors.run(main)
