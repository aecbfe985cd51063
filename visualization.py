"""Stage 3: which regions, and when, make the captioner say each word of a sentence.

    python visualization.py --dataset MSR-VTT --media_id video9461 --sentence "A man is driving a car"
    python visualization.py --dataset Flickr8k --media_id 1056338697_4f7d7ce270 --checkpoint 3000
    python visualization.py --media holiday.mp4 --experiment experiments/Demo --format gif
    python visualization.py --media dog.jpg --experiment experiments/Flickr8k --sentence "a dog runs on the beach"

A video becomes an mp4 at its own frame rate (or a gif, or a png of the most salient frames), an image a png: a tile for
each word, under its map. Without --sentence the captioner's own caption is explained. The raw maps and all settings go
beside the picture as .npz. Everything is written to <experiment>/saliency/, or to --output.
"""

import argparse
from pathlib import Path

import cfg
import device
import errors
from errors import UserError


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cfg.add_arguments(parser, dataset_required=False)
    parser.add_argument("--media_id", metavar="ID", help="a video or image of the data set")
    parser.add_argument("--media", metavar="FILE", help="any video or image instead; needs --experiment")
    parser.add_argument("--experiment", metavar="DIR", help="the experiment's folder (default: experiments/<dataset>)")
    parser.add_argument("--checkpoint", type=int, metavar="NUMBER", help="default: the best on validation")
    parser.add_argument("--sentence", help="the sentence to explain; default: the captioner's own")
    parser.add_argument(
        "--unknown",
        choices=("error", "skip"),
        default="error",
        help="what to do with a word that the captioner does not know (default: error)",
    )
    parser.add_argument(
        "--normalization",
        choices=("linear", "released"),
        help="of the maps: the paper's linear scaling (default for images), or the released program's (for videos)",
    )
    parser.add_argument("--format", choices=("mp4", "gif", "png"), help="default: mp4 for a video, png for an image")
    parser.add_argument("--output", metavar="DIR", help="default: <experiment>/saliency")
    device.add_arguments(parser)
    args = parser.parse_args()
    if (args.media is None) == (args.media_id is None):
        parser.error("name what to look at: --dataset and --media_id, or --media and --experiment")
    if args.media_id is not None and args.dataset is None:
        parser.error("--media_id needs --dataset")
    if args.media is not None and not (args.experiment or args.dataset):
        parser.error("--media needs --experiment, the folder of a trained captioner")
    return args


def medium_path(args, saved):
    """The file that the command line names; UserError where there is none."""
    import annotations

    if args.media is not None:
        return Path(args.media)
    saved.check_dataset(args.dataset)
    medium = annotations.find_medium(annotations.read_media(saved.config), args.media_id)
    if not medium.path.exists():
        raise UserError(f"{medium.path} is missing: the annotations name it, its file should be there")
    return medium.path


def main():
    args = parse_args()
    device.start_tensorflow(args.gpu)
    import checkpoint
    import explanation

    experiment = args.experiment or cfg.DATASETS[args.dataset].experiment
    saved = checkpoint.load(checkpoint.choose(experiment, args.checkpoint), args.set, explanation.SETTINGS)
    path = medium_path(args, saved)
    extractor = explanation.load_cnn(saved)
    explained = explanation.explain(saved, extractor, path, args.sentence, args.unknown, args.normalization)
    picture = explanation.draw(explained, args.output or Path(experiment) / "saliency", args.format)
    numbers = picture.with_suffix(".npz")
    explained.save(numbers, saved)
    whose = "" if args.sentence else " (the captioner's own caption)"
    print(f'"{explained.query.sentence}"{whose}')
    if explained.query.skipped:
        print(f"left out, not known to the captioner: {', '.join(explained.query.skipped)}")
    print(f"picture: {picture}")
    print(f"raw maps and settings: {numbers}")


if __name__ == "__main__":
    errors.run(main)
