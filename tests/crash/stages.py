"""The stages that are killed, on data sets of a few media, with the smallest CNN and captioner that there are."""

import dataclasses
import json
import shutil
from pathlib import Path

from datasets import store
from datasets.failures import Failures
from tests import tiny_data

SMALL_CNN = ["cnn=efficientnet_lite0", "cnn_input_size=64", "saliency_input_size=64"]  # 2 x 2 cells
SMALL = [*SMALL_CNN, "dim_hidden=16", "dim_word_emb=8", "batch_size=4"]
SHORT = ["n_epochs=2", "save_every_n_epoch=1", "max_to_keep=1"]
VOLATILE = {".lock", "tensorboard"}  # what says when it was written


@dataclasses.dataclass(frozen=True)
class Stage:
    """Commands that make `results` (below the workplace) from what the stages before it have made there.

    again(folder): the command with which one goes on after a kill; by default the same.
    """

    name: str
    command: list
    results: tuple
    again: object = None

    def next_command(self, folder):
        return self.again(folder, self.command) if self.again else self.command


def settings(*assignments):
    return [word for assignment in assignments for word in ("--set", assignment)]


def _resume(folder, command):
    """--resume, where there is a checkpoint to go on from."""
    has_one = any((folder / "experiments/MSR-VTT").glob("model-*/state.json"))
    return ["run_s2vt.py", "--dataset", "MSR-VTT", "--train", "--resume"] if has_one else command


def _unless_exported(folder, command):
    """An exported captioner is not written over: it is whole."""
    return None if any((folder / "experiments/exported").glob("model-*")) else command


MEDIA = ["DATA/MSR_VTT/TestVideo/video9.mp4", "DATA/MSR_VTT/TestVideo/video11.mp4", "DATA/COCO/val/0.png"]
STAGES = (
    Stage(
        "preprocessing",
        ["preprocessing.py", "--dataset", "MSR-VTT", *settings(*SMALL_CNN, "n_sampled_frames=4")],
        ("DATA/descriptors",),
    ),
    Stage(
        "training",
        ["run_s2vt.py", "--dataset", "MSR-VTT", "--train", *settings(*SMALL, *SHORT, "n_sampled_frames=4")],
        ("experiments/MSR-VTT",),
        _resume,
    ),
    Stage(
        "captions",
        ["run_s2vt.py", "--dataset", "MSR-VTT", "--test", "--split", "validate"],
        ("experiments/MSR-VTT",),
    ),
    Stage(
        "export",
        ["run_s2vt.py", "--dataset", "MSR-VTT", "--export", "experiments/exported"],
        ("experiments/exported",),
        _unless_exported,
    ),
    Stage(
        "rendering",
        [
            *("visualization.py", "--experiment", "experiments/MSR-VTT", "--media", *MEDIA),
            *("--sentence", "DATA/sentences.txt", "--output", "shown"),
        ],
        ("shown",),
    ),
    Stage(
        "evaluation",
        ["evaluate_saliency.py", "--dataset", "COCO", "--experiment", "experiments/images", "--output", "scored"],
        ("scored",),
    ),
)


def prepare(folder):
    """Write the data sets, and an untrained captioner of images, into an empty folder."""
    import cfg
    from captioner import checkpoint, training_step
    from data_loader import Vocabulary

    tiny_data.write_msr_vtt(folder / "DATA/MSR_VTT")
    (folder / "DATA/MSR_VTT/TrainValVideo/video4.mp4").write_bytes(b"no video")
    (folder / "DATA/COCO").mkdir(parents=True)
    tiny_data.write_coco(folder / "DATA/COCO")
    (folder / "DATA/sentences.txt").write_text("a red square\nthe square is blue\n")
    config = cfg.override(cfg.DATASETS["Flickr8k"], [*SMALL, "batch_size=8", "self_critical_epochs=0"])
    vocabulary = Vocabulary([".", "a", "red", "square", "squares", "there"], [9, 9, 3, 3, 3, 3])
    model = checkpoint.build_model(config, vocabulary, dim_image=1280)
    optimizer = training_step.make_optimizer(config, 10)
    optimizer.build(model.trainable_variables)
    checkpoint.save(folder / "experiments/images", 1, config, vocabulary, model, optimizer, {"validation_loss": 1.0})


def results(folder, stage):
    """What a stage has made: dict of path -> bytes; of scores the last run, without the times noted beside them."""
    found = {}
    for name in stage.results:
        for path in sorted((folder / name).rglob("*")):
            own = path.relative_to(folder)
            if path.is_file() and not VOLATILE & set(own.parts):
                found[str(own)] = path.read_bytes()
    for name, content in found.items():
        if name.endswith(store.FAILURES):  # lines in whatever order, half ones among them
            found[name] = Failures(folder / name).all()
        elif name.endswith("scores.txt"):
            found[name] = json.loads(content.splitlines()[-1])
        elif name.endswith(".jsonl"):  # the scores of each medium, in whatever order
            whole = [json.loads(line) for line in content.split(b"\n")[:-1] if line.endswith(b"}}")]
            found[name] = {line["id"]: _timeless(line["record"]) for line in whole}
        elif name.startswith("scored/") and name.endswith(".json"):
            found[name] = _timeless(json.loads(content))
    return found


def _timeless(table):
    """A table without how long things took."""
    return {key: value for key, value in table.items() if not key.endswith("seconds")}


def copy(source, target):
    """A workplace of its own."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, symlinks=True)
    return Path(target)
