"""The experiment's folder: what training removes, what it keeps, and what it leaves alone."""

import json
from pathlib import Path

import pytest

from captioner import checkpoint, training
from datasets import store
from system import files
from system.errors import UserError
from tests.commands import run
from tests.small_runs import config_of, content

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("workplace")]


def write_checkpoints(experiment, losses):
    """As much of checkpoints as it takes to choose among them: a dict of step -> validation loss."""
    for step, loss in losses.items():
        folder = checkpoint.folder_of(experiment, step)
        folder.mkdir(parents=True)
        (folder / "state.json").write_text(json.dumps({"step": step, "validation_loss": loss}))


def test_published_captioner_is_not_overwritten(copied):
    (copied / "MODEL_CARD.md").write_text("")
    before = content(copied)
    with pytest.raises(UserError, match=r"experiments/copied holds a published captioner \(MODEL_CARD.md\)"):
        training.locked(config_of("copied"))
    assert content(copied) == before


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_two_do_not_train_in_one_folder(copied, resume):
    """The second one would remove the first one's checkpoints."""
    before = content(copied)
    with training.locked(config_of("copied")):
        arguments = ["--dataset", "MSR-VTT", "--train", "--experiment", str(copied), *resume]
        said = run("run_s2vt.py", *arguments, cwd=".", status=2)
    assert "error: experiments/copied: a captioner is trained in it by another process; wait for it, or name" in said
    assert {path: what for path, what in content(copied).items() if path.name != ".lock"} == before


@pytest.mark.parametrize("options", [["n_epochs=2"], ["self_critical_epochs=6"], ["naming_weight=0.1"]])
def test_a_training_that_diverges_ends_at_once(options):
    config = config_of("diverging", "learning_rate=1e20", "save_every_n_epoch=1", *options)
    with pytest.raises(UserError, match=r"^training diverged at step [1-9]: .* a smaller learning_rate than 1e\+20"):
        training.train(training.start(config))
    assert checkpoint.steps(config.experiment) == []


@pytest.mark.parametrize(
    ("max_to_keep", "kept"),
    [(1, [6, 15]), (2, [6, 12, 15]), (4, [6, 9, 12, 15]), (9, [3, 6, 9, 12, 15])],
)
def test_last_checkpoints_and_the_best_are_kept(tmp_path, max_to_keep, kept):
    write_checkpoints(tmp_path, {3: 2.0, 6: 1.0, 9: 1.5, 12: 1.5, 15: 1.75})
    training.remove_surplus(tmp_path, max_to_keep)
    assert checkpoint.steps(tmp_path) == kept
    assert len(list(tmp_path.iterdir())) == len(kept)


def test_new_training_replaces_its_own_files_alone():
    experiment = Path("experiments/old")
    write_checkpoints(experiment, {3: 2.0, 6: 1.0})
    foreign = ["notes.txt", "model-x.json", "model-6-mine.json", "model-6.bak.json", "figures/model-3/figure.png"]
    ours = ["loss.tsv", "scores.txt", "saliency_scores.json", "tensorboard/events"]
    ours += ["model-6.json", "model-99.json", "model-6-validate.json", "model-6-validate-beam5.json"]
    ours += ["model-6-Flickr8k.json", "model-6-COCO-train-beam8-penalty1.3.json"]
    for name in (*ours, *foreign):
        (experiment / name).parent.mkdir(parents=True, exist_ok=True)
        (experiment / name).write_text(name)
    files.partial_name(experiment / "model-9").mkdir()
    training.start(config_of("old"))
    assert content(experiment) == {Path(name): name.encode() for name in foreign}
    assert sorted(path.name for path in experiment.iterdir()) == sorted({name.split("/")[0] for name in foreign})


@pytest.mark.parametrize(
    ("assignment", "complaint"),
    [
        ("data_dir=DATA/nowhere", "DATA/nowhere is missing"),
        ("n_sampled_frames=9", r"7 of 7 media have no descriptors in .*9frames-float16, such as video0: run"),
        ("descriptors_root=nowhere", r"7 of 7 media have no descriptors in nowhere"),
    ],
)
def test_wrong_argument_costs_nothing(copied, assignment, complaint):
    before = content(copied)
    with pytest.raises(UserError, match=complaint):
        training.start(config_of("copied", assignment))
    assert content(copied) == before


def test_missing_validation_descriptors_cost_nothing(copied):
    before = content(copied)
    path = store.Store(config_of("copied")).path("video8")
    path.rename("put aside")
    try:
        with pytest.raises(UserError, match=r"1 of 5 media have no descriptors in .*, such as video8: run"):
            training.start(config_of("copied"))
    finally:
        Path("put aside").rename(path)
    assert content(copied) == before
