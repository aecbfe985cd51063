"""The program from Python: which parts of a picture or a clip made a captioning network say each word.

    import caption_saliency
    explain = caption_saliency.load()                        # the captioner that comes with the program
    result = explain("dog.jpg", "a dog runs on the beach")   # without a sentence: the captioner's own caption
    result.picture().save("dog.png")                         # a PIL picture; of a clip also result.write("dog.mp4")

`visualization.py` is the same from the command line. docs/commands.md, "From Python", says what a result holds.
"""

import importlib.util
from pathlib import Path

import cfg
from system import device
from system.errors import UserError

__all__ = ["UserError", "load"]
FOLDER = Path(__file__).resolve().parent


def _check_names():
    """UserError where another package, installed beside the program, has the name of one of its folders."""
    for name in ("vision", "datasets", "captioner", "explain", "evaluation"):
        found = importlib.util.find_spec(name)
        if found is None or FOLDER not in Path(found.origin or "").resolve().parents:
            raise UserError(
                f"another package called '{name}' comes before the program's own: put {FOLDER} into PYTHONPATH, or use "
                "an environment without it, such as the one that make builds"
            )


def load(experiment=None, method=None, checkpoint=None, settings=(), gpu=None, captioner=None, revision=None):
    """Load a captioner with its CNN; TensorFlow starts here -> explain.explainer.Explainer.

    Call what it gives: `explain(path, sentence=None, unknown="error", normalization=None, instead=None)` -> an
    Explanation with `words` [T], `raw_maps` [F, T, Gy, Gx] in nats, `maps` in [0, 1], `log_q` and `gain` [T], `box`, of
    a video `curves` [F, T].

    experiment: a folder of checkpoints (default: the bundled captioner); method: one of attribution.METHODS (default:
    the paper's, equations 5 and 6), or several; checkpoint: its number (default: the best on validation); settings:
    "key=value" texts, or one, as for --set; gpu: as for --gpu; captioner, revision: one of the transformers library
    instead, by its name on the hub or its folder. UserError where there is no such captioner, method or setting.
    """
    _check_names()
    device.start_tensorflow(gpu)
    from explain import attribution, explainer

    methods = [method or attribution.PAPERS] if method is None or isinstance(method, str) else method
    for one in methods:
        attribution.check(one)
    return explainer.Explainer(load_captioner(experiment, checkpoint, settings, gpu, captioner, revision), methods)


def load_captioner(experiment=None, checkpoint=None, settings=(), gpu=None, captioner=None, revision=None):
    """The captioner alone, TensorFlow being started -> explain.captioner.Captioner; arguments and errors of `load`."""
    if captioner is not None:
        from explain import transformers_captioner

        return transformers_captioner.load(captioner, revision, gpu)
    from captioner import checkpoint as checkpoints
    from explain import s2vt_captioner

    folder = checkpoints.choose(experiment or cfg.BUNDLED, checkpoint)
    settings = [settings] if isinstance(settings, str) else settings
    return s2vt_captioner.S2VTCaptioner(checkpoints.load(folder, settings, s2vt_captioner.SETTINGS))


def add_captioner_arguments(parser):
    """The flags that name a captioner of the transformers library instead of an experiment."""
    parser.add_argument(
        "--captioner",
        metavar="NAME",
        help="a captioner of the transformers library instead, by its name on the hub or its folder: BLIP, or a pair "
        "of an encoder and a decoder such as ViT-GPT2 (docs/captioners.md)",
    )
    parser.add_argument("--revision", metavar="COMMIT", help="of --captioner, on the hub (default: the latest)")


def check_captioner(args, parser):
    """End with one line where --captioner does not go with what else is asked."""
    others = [f"--{name}" for name in ("experiment", "checkpoint", "set") if getattr(args, name, None)]
    if args.captioner and others:
        parser.error(f"--captioner does not go with {others[0]}")
    if args.revision and not args.captioner:
        parser.error("--revision is of a --captioner")
