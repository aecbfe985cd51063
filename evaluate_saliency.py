"""Is the map right? How well it finds the thing that a word names, and whether the captioner depends on what it shows.

    python evaluate_saliency.py --dataset Demo
    python evaluate_saliency.py --dataset COCO --methods all --faithfulness
    python evaluate_saliency.py --dataset DAVIS --methods single_descriptor best
    python evaluate_saliency.py --dataset Flickr8k --split validate --experiment experiments/pretrained/photographs \\
        --methods single_descriptor best --limit 100

Demo knows where every named thing is in every frame: for each clip of the split the words of a caption that name
something (nouns, looks, verbs) are scored. Of photographs the noun phrases are scored that have boxes in Flickr30k
Entities (Flickr30k, Flickr8k), or the words that name a category with masks (COCO). DAVIS is for real clips, of one's
own too: folders of frames with masks, and a table of sentences that says which words name what the masks show.
docs/evaluation.md defines the measures, docs/method.md the methods. To compare with the pointing game of other papers
on Flickr30k Entities there are their protocols beside ours:

    --protocol phrases        every phrase of every caption; found on any of its boxes
    --protocol large_phrases  those alone whose boxes together cover at least 5 % of the photograph (Akbari et al., CVPR
                              2019; Arbelle et al., ICCV 2021)
    --protocol entities       the mean map of all phrases of a photograph's captions that name the same; found in the
                              box around its boxes (Shaharabany et al., NeurIPS 2022)

Tables are printed of every measure of every method, of what they are above the frame's centre and the paper's maps, and
of the pointing game for each kind of word, all with 95 % intervals. All numbers go to `saliency_scores-<dataset>.json`
(of Demo `saliency_scores.json`) in the experiment's folder, or to --output; beside it stands a page of examples with
the ten worst: `saliency_examples-<dataset>.png`. Other protocols than ours add their name to those of the files.

The scores of each medium go to a file beside them as they come, `saliency_scores-<dataset>.<a hash>.jsonl`: from there
an interrupted run goes on when it is started again, several processes on one folder share the work (--shard deals it
out), and the tables are of what is there. Where all was there before a run it begins anew, but not with --shard,
--retry_failures or a smaller --limit. With --ray the actors of a Ray cluster score, and this process notes what they
found.
"""

import argparse
import contextlib
import platform
import sys
import time
from typing import NamedTuple

import caption_saliency
import cfg
from system import claims, device, errors, files, ray_pool
from system.errors import UserError

TRUTH = {
    "Flickr30k": "DATA/Flickr30kEntities",
    "Flickr8k": "DATA/Flickr30kEntities",
    "COCO": "DATA/COCO",
    "DAVIS": "DATA/DAVIS",
}
SCORED_WHOLE = ("COCO", "DAVIS")  # without a split, and by default with the bundled captioner
CLIPS = ("Demo", "DAVIS")
SEVERAL_SIZES = {False: "one size", True: "several sizes, mirrored"}  # in which the CNN looks


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cfg.add_arguments(parser, datasets=("Demo", *TRUTH))
    parser.add_argument(
        "--split",
        choices=("validate", "dev", "test"),
        default="test",
        help="not of COCO and DAVIS; dev is validate; default: test",
    )
    parser.add_argument("--truth", metavar="DIR", help="boxes or masks: Flickr30k Entities, COCO, or DAVIS")
    parser.add_argument(
        "--experiment", metavar="DIR", help="default: experiments/<dataset>, for COCO and DAVIS the bundled captioner"
    )
    parser.add_argument("--output", metavar="DIR", help="where the numbers go; default: the experiment's folder")
    parser.add_argument("--checkpoint", type=int, metavar="NUMBER", help="default: the best on validation")
    caption_saliency.add_captioner_arguments(parser)
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N media")
    parser.add_argument(
        "--methods",
        metavar="NAME",
        nargs="+",
        help="the ways to compute the maps (docs/method.md), and the baselines untrained, untrained_best and mean_map; "
        "or all; default: the paper's",
    )
    parser.add_argument(
        "--phrase",
        choices=("mean", "max", "head"),
        default="mean",
        help="the map of a phrase: the mean of its words' (default), their maximum, or its last word's",
    )
    parser.add_argument(
        "--protocol",
        choices=("phrases", "large_phrases", "entities"),
        default="phrases",
        help="what is asked of photographs: every phrase (default: ours), the large ones, or entities; see above",
    )
    parser.add_argument("--faithfulness", action="store_true", help="measure deletion and insertion as well")
    claims.add_arguments(parser)
    ray_pool.add_arguments(parser)
    parser.add_argument("--retry_failures", action="store_true", help="try again what could not be read before")
    device.add_arguments(parser)
    args = parser.parse_args(argv)
    if args.limit is not None and args.limit < 1:
        parser.error("--limit must be at least 1")
    caption_saliency.check_captioner(args, parser)
    if args.split == "dev":
        args.split = "validate"
    return args


def check_protocol(args):
    """UserError where the protocol cannot be followed: on this data set, or with faithfulness."""
    if args.dataset in CLIPS and args.protocol != "phrases":
        raise UserError(f"--protocol {args.protocol} is for photographs: {args.dataset} has clips")
    if args.dataset == "COCO" and args.protocol == "entities":
        raise UserError(
            "--protocol entities needs the chains of Flickr30k Entities: COCO does not say which words name the same"
        )
    if args.faithfulness and args.protocol == "entities":
        raise UserError(
            "--faithfulness is that of the words of one caption: an entity (--protocol entities) has those of several"
        )


def chosen_methods(names, has_untrained=True):
    """The names of the methods to score; UserError for one that there is not.

    has_untrained: whether there is the captioner before its training.
    """
    from evaluation import cases, scoring
    from explain import attribution

    names = list(dict.fromkeys(names or [attribution.PAPERS]))
    for name in names:
        attribution.check(name, (*scoring.BASELINES, "all"))
    if not has_untrained and (asked := [name for name in names if name in cases.UNTRAINED]):
        raise UserError(f"a --captioner cannot be had untrained: leave out {' and '.join(asked)}")
    baselines = [name for name in scoring.BASELINES if has_untrained or name not in cases.UNTRAINED]
    return [*attribution.METHODS, *baselines] if "all" in names else names


def find_subjects(args, config, eye):
    """The media to score -> list of cases.Subject. UserError where data are missing."""
    from datasets import annotations, davis, grounding
    from evaluation import cases, protocols

    if args.dataset == "Demo":
        chosen = annotations.split_media(annotations.read_media(config), args.split)
        return cases.clips(eye, chosen[: args.limit], config.data_dir)
    truth = args.truth or TRUTH[args.dataset]
    if args.dataset == "DAVIS":
        return cases.masked_clips(eye, davis.read(truth))[: args.limit]
    if args.dataset == "COCO":
        captioned = grounding.read_coco(truth)
    else:
        media = annotations.split_media(annotations.read_media(config), args.split)
        captioned = grounding.read_entities(truth, media[: args.limit])
    return cases.photographs(eye, captioned, protocols.PROTOCOLS[args.protocol])[: args.limit]


class Question(NamedTuple):
    """What is asked: of whom, about what, and by which methods. `all` is all that the scores depend on, as JSON."""

    eye: object  # cases.Eye
    subjects: list  # of cases.Subject
    methods: list
    all: dict


def question_of(args):
    """The Question of a command line, with the captioner loaded. TensorFlow has started."""
    from evaluation import cases

    whole = args.dataset in SCORED_WHOLE
    methods = chosen_methods(args.methods, has_untrained=not args.captioner)
    asked = args.checkpoint, args.set, args.gpu, args.captioner, args.revision
    captioner = caption_saliency.load_captioner(experiment_of(args), *asked)
    eye = cases.Eye(captioner)
    subjects = find_subjects(args, None if whole else captioner.config_of(args.dataset, args.set), eye)
    asked = {name: getattr(args, name) for name in ("dataset", "split", "truth", "protocol", "phrase", "faithfulness")}
    return Question(eye, subjects, methods, asked | {"methods": sorted(methods), "captioner": captioner.identity})


def experiment_of(args):
    """The folder of the captioner that is asked."""
    if args.experiment:
        return args.experiment
    return cfg.BUNDLED if args.dataset in SCORED_WHOLE else cfg.DATASETS[args.dataset].experiment


def worker(args, asked):
    """What an actor of --ray does: a function from ids of media to their records.

    UserError where its machine has another captioner than the one that is `asked`: Question.all of this command line.
    """
    device.start_tensorflow(args.gpu)
    question = question_of(args)
    if question.all != asked:
        raise UserError(f"{platform.node()} has another captioner than the machine that asks")
    by_id = {subject.id: subject for subject in question.subjects}

    def work(ids):
        return [_record(question, by_id[name], args) for name in ids]

    return work


def _record(question, subject, args):
    from evaluation import scoring
    from vision import ffmpeg_process

    with ffmpeg_process.patience(question.eye.captioner.patience):
        return scoring.score_subject(question.eye, subject, question.methods, args.phrase, args.faithfulness)


@contextlib.contextmanager
def _scoring(question, args):
    """Context manager of who scores: a function from ids of media to pairs of an id and its record, in any order."""
    if args.ray is None:
        by_id = {subject.id: subject for subject in question.subjects}
        yield lambda ids: ((name, _record(question, by_id[name], args)) for name in ids)
        return
    with ray_pool.Pool("evaluate_saliency:worker", args, question.all, with_gpus=args.gpu != "-1") as pool:
        yield pool.results


def score(question, ledger, shard, args, began):
    """Score the media of a shard that nobody has scored yet, each noted in the ledger when it is through.

    The whole begins anew where all of it, and nothing else, was there before this process `began` (time.time()).
    """
    from tqdm import tqdm

    ids = [subject.id for subject in question.subjects]
    own, claim_of = shard.of(ids), {name: f"{ledger.path.name} {name}" for name in ids}
    name_of = {claim: name for name, claim in claim_of.items()}
    with (
        claims.Claims(ledger.path.parent) as work,
        tqdm(total=len(own), unit="medium", desc="scoring") as bar,
        _scoring(question, args) as records_of,
    ):
        if args.retry_failures:
            ledger.forget_unread()
        elif shard.count == 1:
            for _ in work.take([ledger.path.name], lambda _: not ledger.was_complete(ids, began)):
                ledger.begin_anew()
        if n_before := sum(map(ledger.has, own)):
            tqdm.write(f"{n_before} of {len(own)} media are scored already, in {ledger.path}", file=sys.stderr)
        for claimed in work.rounds(map(claim_of.get, own), lambda claim: ledger.has(name_of[claim])):
            for name, record in records_of(map(name_of.get, claimed)):
                if isinstance(record, Exception):
                    record = {"unread": str(record)}
                if "unread" in record:
                    errors.report(record["unread"])
                ledger.add(name, record)
                work.release(claim_of[name])
                bar.update(sum(one in ledger.records for one in own) - bar.n)
        bar.update(len(own) - bar.n)
    ledger.refresh()


def main(argv=None):
    began = time.time()
    args = parse_args(argv)
    check_protocol(args)
    with ray_pool.connected(args):
        evaluate(args, began)


def evaluate(args, began):
    """Score, and write and print the tables of what is scored by now."""
    device.start_tensorflow("-1" if args.ray else args.gpu)  # with --ray the GPUs of this machine are its actors'
    import numpy as np

    from evaluation import examples_page, ledger, scoring, tables

    question, shard = question_of(args), claims.shard_from(args)
    subjects, methods, captioner = question.subjects, question.methods, question.eye.captioner
    output = args.output or cfg.output_folder(experiment_of(args), captioner=args.captioner)
    folder = files.writable_folder(output)
    suffix = "" if args.dataset == "Demo" else f"-{args.dataset}"
    suffix += "" if args.protocol == "phrases" else f"-{args.protocol}"
    book = ledger.Ledger(folder / f"saliency_scores{suffix}", question.all)
    score(question, book, shard, args, began)
    results = scoring.collect(subjects, book.records, methods)
    if not results.about:
        raise UserError(
            "no phrase to score: is there a picture that can be read, with a place for words of its captions?"
        )

    table = tables.tabulate(results, by_word=args.dataset in CLIPS)
    seconds = {name: float(np.median(found)) for name, found in results.seconds.items()}
    looking = {SEVERAL_SIZES[several]: float(np.median(found)) for several, found in results.cnn_seconds.items()}
    about = {
        "split": None if args.dataset in SCORED_WHOLE else args.split,
        "captioner": captioner.name,
        "checkpoint": captioner.checkpoint,
    }
    about |= {"protocol": args.protocol, "phrase": args.phrase, "seconds": seconds, "cnn_seconds": looking}
    about["cut_off"] = tables.cut_off(results)
    about |= {"media": len(subjects), "scored": results.n_subjects, "unread": results.unread}
    files.write_json(folder / f"saliency_scores{suffix}.json", {**about, "scores": table})
    page = folder / f"saliency_examples{suffix}.png"
    examples_page.write(page, subjects, results, methods, args.phrase)
    tables.show(about, table)
    if results.n_subjects < len(subjects):
        print(f"so far {results.n_subjects} of {len(subjects)} media: other processes are not through", file=sys.stderr)
    print(f"these numbers: {folder / f'saliency_scores{suffix}.json'}\nexamples: {page}", file=sys.stderr)


if __name__ == "__main__":
    errors.run(main)
