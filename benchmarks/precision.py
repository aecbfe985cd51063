"""What float16 descriptors and bfloat16 products change: raw maps and loss of a trained captioner on real images.

    python benchmarks/precision.py --dataset Flickr8k --limit 200

For the first images of the test split and the first caption of each: everything in float32, then one thing at a time in
less. (Caption scores: run_s2vt.py --test, with the same --set.)
"""

import argparse
import dataclasses
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's own modules

import cfg
from system import device, errors

EXACT = {"descriptor_dtype": "float32", "cnn_precision": "float32", "precision": "float32"}
CHANGES = {
    "float16 descriptors": {"descriptor_dtype": "float16"},
    "bfloat16 CNN": {"cnn_precision": "bfloat16"},
    "bfloat16 captioner": {"precision": "bfloat16"},
    "all three": {"descriptor_dtype": "float16", "cnn_precision": "bfloat16", "precision": "bfloat16"},
}


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    images = [name for name, config in cfg.DATASETS.items() if config.media == "image"]
    parser.add_argument("--dataset", choices=images, required=True)
    parser.add_argument("--experiment", metavar="DIR", help="default: experiments/<dataset>")
    parser.add_argument("--limit", type=int, default=200, metavar="N", help="default: 200 images")
    return parser.parse_args()


def measure(folder, settings, limit):
    """Raw maps and losses of some images under some settings -> list of maps [T, cells], array of losses."""
    import data_loader
    import saliency
    from captioner import checkpoint
    from datasets import annotations
    from explain.query import parse_sentence
    from vision import descriptors

    saved = checkpoint.load(folder, [f"{name}={value}" for name, value in settings.items()], EXACT)
    config = dataclasses.replace(saved.config, saliency_input_size=None, more_sources=None)
    extractor = descriptors.load_cnn(config)
    maps, losses = [], []
    for medium in annotations.split_media(annotations.read_media(config), "test")[:limit]:
        grids = extractor(descriptors.cnn_inputs(config, medium.path, extractor.input_size))
        grid = descriptors.captioning_descriptors(config, grids)  # [Gy, Gx, D]
        query = parse_sentence(medium.captions[0], saved.vocabulary, config.n_lstm_step, unknown="skip")
        maps.append(saliency.raw_maps(saved.model, grid[None], query.ids)[0].reshape(len(query.ids), -1))
        caption, mask = saved.vocabulary.encode(medium.captions[0], config.n_lstm_step)
        sequence = data_loader.as_sequence(grid, config.pyramid_levels)  # [N, D]
        losses.append(float(saved.model.caption_loss(sequence[None], caption[None], mask[None])))
    return maps, np.array(losses)


def main():
    args = parse_args()
    device.start_tensorflow()
    from captioner import checkpoint

    folder = checkpoint.choose(args.experiment or cfg.DATASETS[args.dataset].experiment)
    maps, losses = measure(folder, EXACT, args.limit)
    maps = np.concatenate(maps)  # [words, cells]
    spread = np.median(np.ptp(maps, axis=1))
    print(f"{len(losses)} images, {len(maps)} words; a raw map spans {spread:.2f} (median); loss {losses.mean():.4f}\n")
    print(
        "| | raw maps: mean change | largest | maximum moves | loss: mean change | largest |\n|---|---|---|---|---|---|"
    )
    for name, settings in CHANGES.items():
        changed, changed_losses = measure(folder, EXACT | settings, args.limit)
        changed = np.concatenate(changed)
        difference, loss_difference = np.abs(changed - maps), changed_losses - losses
        moved = np.mean(changed.argmax(axis=1) != maps.argmax(axis=1))
        print(
            f"| {name} | {difference.mean():.4f} | {difference.max():.3f} | {moved:.1%} of words "
            f"| {loss_difference.mean():+.4f} | {np.abs(loss_difference).max():.4f} |",
            flush=True,
        )


if __name__ == "__main__":
    errors.run(main)
