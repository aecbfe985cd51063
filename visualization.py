"""Stage 3: which regions, and when, make the captioner say each word of a sentence.

    python visualization.py --media dog.jpg
    python visualization.py --media holiday.mp4 cat.png --sentence "a man is driving a car" --unknown nearest
    python visualization.py --media holiday.mp4 --sentence sentences.txt --format gif
    python visualization.py --media film.mp4 --start 1:02:03 --end 1:05:00 --every 5
    python visualization.py --media photographs --set saliency_input_size=256
    python visualization.py --media 'photographs/*.jpg' more.txt --sentence "a dog" --unknown skip --shard 2/8
    python visualization.py --media JPEGImages/dog --sentence "a dog is running"
    python visualization.py --dataset MSR-VTT --media_id video9461 --sentence "A man is driving a car"
    python visualization.py --media dog.jpg --experiment experiments/Flickr8k --sentence "a dog runs on the beach"

A folder of numbered frames is a video, another folder stands for the media in it, a .txt file for those that its lines
name. A video becomes an mp4 at its own frame rate (or a gif, or a png of the most salient frames), an image a png: a
tile for each word, under its map; with --format html either becomes a page that one asks. Without --sentence the
captioner's own caption is explained; a .txt file gives one sentence a line. The captioner is that of the data set or
the experiment, else the bundled one. The raw maps and all settings go beside the picture as .npz. Everything is written
to <experiment>/saliency/ (of the bundled captioner to saliency/), or to --output.
"""

import argparse
import collections
import contextlib
import glob
from pathlib import Path

import numpy as np
from tqdm import tqdm

import caption_saliency
import cfg
from system import ahead, claims, console, device, errors, files
from system.errors import UserError

AT_ONCE = 4  # sentences over one medium, which the CNN sees once for them: their maps are in memory together
DRAWN_AHEAD = 16  # explanations of images, while the next ones are computed


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cfg.add_arguments(parser, dataset_required=False)
    parser.add_argument("--media_id", metavar="ID", nargs="+", help="videos or images of the data set")
    parser.add_argument("--media", metavar="FILE", nargs="+", help="any videos, images or folders instead")
    parser.add_argument("--start", metavar="TIME", help="of a video only from there: 1:02:03, 62:03 or 3723 (seconds)")
    parser.add_argument("--end", metavar="TIME", help="of a video only what is before that")
    parser.add_argument(
        "--every", metavar="N", help="of a video only every Nth frame; with an s, as in 0.5s, one in so many seconds"
    )
    parser.add_argument(
        "--experiment",
        metavar="DIR",
        help="the experiment's folder (default: experiments/<dataset>; without a data set the bundled captioner)",
    )
    parser.add_argument("--checkpoint", type=int, metavar="NUMBER", help="default: the best on validation")
    caption_saliency.add_captioner_arguments(parser)
    parser.add_argument(
        "--sentence", help="the sentence to explain, or a .txt file with one a line; default: the captioner's own"
    )
    parser.add_argument(
        "--unknown",
        choices=("error", "skip", "nearest"),
        default="error",
        help="what to do with a word that the captioner does not know: refuse it (default), leave it out, or read the "
        "nearest known one",
    )
    parser.add_argument(
        "--instead",
        metavar="WORD",
        help="why this word and not that: compare each word of the sentence with this one in its place, or with "
        "--instead dog=cat 'dog' alone",
    )
    parser.add_argument(
        "--normalization",
        nargs="+",
        choices=("linear", "released"),
        help="of the maps: the paper's linear scaling (default for images), or the released program's (for videos); or "
        "both",
    )
    parser.add_argument(
        "--method",
        metavar="NAME",
        nargs="+",
        help="other ways to compute the maps than the paper's, such as best: see docs/method.md; a page has several",
    )
    parser.add_argument(
        "--format",
        choices=("mp4", "gif", "png", "html", "npz"),
        help="default: mp4 for a video, png for an image; html: a page that one asks; npz: nothing but the numbers",
    )
    parser.add_argument("--output", metavar="DIR", help="default: <experiment>/saliency, or saliency")
    claims.add_arguments(parser)
    device.add_arguments(parser)
    args = parser.parse_args(argv)
    if (args.media is None) == (args.media_id is None):
        parser.error("name what to look at: --media, or --dataset and --media_id")
    if args.media_id is not None and args.dataset is None:
        parser.error("--media_id needs --dataset")
    caption_saliency.check_captioner(args, parser)
    return args


def media_paths(args, captioner):
    """The files that the command line names; UserError for an unknown id, or where two would share a picture."""
    from datasets import annotations
    from vision import excerpt, media

    if args.media is not None:
        paths = [path for name in args.media for path in listed(name)]
    else:
        known = annotations.read_media(captioner.config_of(args.dataset, args.set))
        paths = [annotations.find_medium(known, media_id).path for media_id in args.media_id]
    paths = [excerpt.of(path, args.start, args.end, args.every) for path in paths]
    name, times = collections.Counter(media.name(path) for path in paths).most_common(1)[0]
    if times > 1:
        raise UserError(f"{times} of the media are called {name}, so their pictures would be: run them one by one")
    return paths


def listed(name):
    """The media that a name stands for: a file, or a clip's folder of frames; all in another folder, in a list, or
    that a pattern fits. UserError where that is none.
    """
    from vision import pictures

    path = Path(name)
    if path.suffix == ".txt":
        paths = [Path(line.strip()) for line in files.read_text(path, "a medium a line").split("\n") if line.strip()]
    elif path.is_dir():
        inside = sorted(one for one in path.iterdir() if one.is_file() and not one.name.startswith("."))
        paths = [path] if not inside or pictures.is_clip(path) else inside
    elif glob.has_magic(name) and not path.exists():
        paths = [Path(found) for found in sorted(glob.glob(name, recursive=True))]
    else:
        paths = [path]
    if not paths:
        raise UserError(f"{name}: there is no such medium")
    return paths


def read_sentences(sentence):
    """The sentences to explain: one, those of a .txt file, or None for the captioner's own."""
    if sentence is None or not sentence.endswith(".txt"):
        return [sentence]
    sentences = [line.strip() for line in files.read_text(sentence, "a sentence a line").split("\n") if line.strip()]
    if not sentences:
        raise UserError(f"{sentence} has no sentence in it: write one a line")
    return sentences


def write(explained, output, form):
    """Write what was asked for, by default the usual form, and print what came out -> the picture or page.

    A page has all methods and normalizations in it; of other pictures there is one for each.
    """
    from explain import render

    form = form or render.forms(explained.is_video)[0]
    views, picture = (explained, *explained.also), None
    tell(explained)
    for view in views:
        target = output / f"{render.name(view)}.{form}"
        if form != "npz" and (picture is None or form != "html"):
            beside = view.write(target)
            tqdm.write(f"picture: {target}")
            if beside:
                tqdm.write(f"the page is large: what it shows lies beside it, {beside}")
        picture = picture or target
        view.write(target.with_suffix(".npz"))
        tqdm.write(f"raw maps and settings: {target.with_suffix('.npz')}")
    return picture


def tell(explained):
    """Print what is explained."""
    from explain import fonts

    query = explained.query
    whose = " (the captioner's own caption)" if query.is_own else ""
    tqdm.write(f'"{query.sentence}"{whose}')
    gains = np.round(explained.gain.astype(float), 1) + 0  # no -0.0
    gains = (f"{word} {gain:.1f}" for word, gain in zip(explained.words, gains, strict=True))
    tqdm.write(f"from the picture, in nats: {', '.join(gains)}")
    for note in query.notes:
        tqdm.write(note)
    if lacking := fonts.missing(query.title + "".join(query.skipped)):
        tqdm.write(
            f"no font here has {console.shown(lacking)}, drawn as empty boxes: install one that has, such as Noto"
        )
    if explained.is_video and explained.learnt_from == "image":
        tqdm.write("this captioner has learnt from still images: it sees every frame of a video by itself")


@contextlib.contextmanager
def told(alone):
    """Context manager: an error in one of many jobs is told, and the next ones go on; that of a job alone is raised."""
    try:
        yield
    except Exception as error:
        told = errors.as_user_error(error)
        if alone or told is None:
            raise
        errors.report(told)


def explanations(explain, paths, queries, args, alone):
    """Generate the explanations of every query (None: the captioner's own caption) over all media that have one."""
    from explain import page, render
    from vision import media

    def drawable():
        for path in paths:
            with told(alone):
                if args.format:
                    render.check_form(path, media.kind(path) == "video", args.format)
                yield path

    groups = [queries[start : start + AT_ONCE] for start in range(0, len(queries), AT_ONCE)]
    for _, sight in explain.see_many(drawable(), captioned=None in queries, instead=args.instead):
        for group in groups:
            with told(alone):
                if isinstance(sight, Exception):
                    raise sight
                if args.format == "html":
                    page.check_length(sight.path, sight.n_frames)
                yield from explain.explain(sight, group, args.normalization, args.instead)


def written(jobs, output, form):
    """`write` each of the explanations -> yields (explanation, its picture or page, or what went wrong).

    An image is drawn by a thread while the next ones are computed. A video is drawn at once: its maps are large.
    """

    def begun():
        for explained in jobs:
            yield explained, errors.outcome(write, explained, output, form) if explained.is_video else None

    def drawn(job):
        explained, picture = job
        return picture or write(explained, output, form)

    for (explained, _), picture in ahead.ahead(drawn, begun(), DRAWN_AHEAD):
        yield explained, picture


def main(argv=None):
    args = parse_args(argv)
    sentences = read_sentences(args.sentence)
    of_dataset = cfg.DATASETS[args.dataset].experiment if args.dataset and not args.captioner else cfg.BUNDLED
    experiment = args.experiment or of_dataset
    output = files.writable_folder(args.output or cfg.output_folder(experiment, "saliency", args.captioner))
    asked = args.checkpoint, args.set, args.gpu, args.captioner, args.revision
    explain = caption_saliency.load(experiment, args.method, *asked)
    explain.scratch = output
    from explain import index_page
    from vision import ffmpeg_process, media

    paths, shard = media_paths(args, explain.captioner), claims.shard_from(args)
    own = set(shard.of(map(media.name, paths)))
    paths = [path for path in paths if media.name(path) in own]
    n_jobs, n_done, queries, pages = len(paths) * len(sentences), 0, [], []
    alone = n_jobs == 1
    for sentence in sentences:
        with told(alone=len(sentences) == 1):
            queries.append(None if sentence is None else explain.query(sentence, args.unknown, args.instead))
    if queries:
        explain.load()  # that weights are missing is told once, not for every medium
    else:
        paths = []
    jobs, patience = explanations(explain, paths, queries, args, alone), ffmpeg_process.patience
    with (
        patience(explain.captioner.patience),
        tqdm(total=n_jobs, unit="sentence", desc="explaining", disable=alone) as bar,
    ):
        for explained, picture in written(jobs, output, args.format):
            with told(alone):
                if isinstance(picture, Exception):
                    raise picture
                n_done += 1
                bar.update()
                if args.format == "html":
                    pages.append(index_page.entry(explained, picture))
    if len(pages) > 1:
        print(f"all pages: {index_page.write(pages, output)}")
    if n_done < n_jobs:
        raise UserError(
            f"{n_jobs - n_done} of {n_jobs} could not be explained, for the reasons above; the others are done"
        )


if __name__ == "__main__":
    errors.run(main)
