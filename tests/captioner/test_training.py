"""Training on tiny sets of descriptors: Adam's steps, checkpoints, resuming to the bit, and the scores at the end."""

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cfg
import data_loader
from captioner import checkpoint, testing, training
from datasets import annotations, store
from system.errors import UserError
from tests.small_runs import COLOURS, SETTINGS, config_of, write_data_set

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT.parent / "shared" / "golden" / "golden_model.npz"

# 7 videos of 2 captions, 4 a batch: 4 steps an epoch. 0.8 epochs are 3.2 steps.
DUE = [3, 6, 10, 13, 16, 19, 22, 24]

GOLDEN_SETTINGS = (
    "descriptor_dtype=float32",
    "n_sampled_frames=5",
    "dim_hidden=12",
    "dim_word_emb=7",
    "n_lstm_step=6",
    "input_keep_prob=1",
    "output_keep_prob=1",
    "batch_size=3",
    "n_epochs=5",
)


@pytest.fixture(scope="module", autouse=True)
def workplace(tmp_path_factory):
    """The data set, in the folder that everything here is started in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("training"))
        write_data_set(config_of("any"))
        yield Path.cwd()


@pytest.fixture(scope="module")
def trainer():
    """The Trainer of an unbroken run, in experiments/unbroken."""
    trainer = training.start(config_of("unbroken"))
    training.train(trainer)
    return trainer


@pytest.fixture
def copied(trainer):
    """A copy of the unbroken run's experiment, to be changed."""
    shutil.copytree("experiments/unbroken", "experiments/copied")
    yield Path("experiments/copied")
    shutil.rmtree("experiments/copied")


def content(folder):
    """Every file below a folder, with its bytes."""
    return {path.relative_to(folder): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def loss_rows(experiment):
    """The rows of loss.tsv: [checkpoints, (number, train, validation)]."""
    return np.loadtxt(Path(experiment) / "loss.tsv", skiprows=1)


# The steps


@pytest.fixture
def golden():
    if not GOLDEN.exists():
        pytest.skip(f"the released program's numbers are not here: {GOLDEN}")
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


def golden_trainer(golden, folder):
    """A Trainer whose one batch is the golden one: its captions are written out in words that are called by their ids.

    Its validation samples are the same ones.
    """
    config = cfg.override(
        cfg.DATASETS["MSR-VTT"],
        [*GOLDEN_SETTINGS, f"descriptors_root={folder}"],
    )
    assert config.learning_rate == 5e-4
    config.descriptors_dir.mkdir(parents=True)
    for k, video in enumerate(golden["video"]):
        np.save(store.Store(config).path(k), video)
    vocabulary = data_loader.Vocabulary([".", *(f"word{k}" for k in range(1, 23))])
    model = checkpoint.build_model(config, vocabulary, dim_image=16)
    model.load_reference_weights(golden)
    captions = golden_captions(golden["caption"], golden["caption_mask"])
    media = {
        f"{split} {k}": annotations.Medium(k, Path(f"{k}.mp4"), split, (caption,))
        for split in ("train", "validate")
        for k, caption in enumerate(captions)
    }
    return training.Trainer(config, vocabulary, model, media)


def golden_captions(ids, mask):
    """Captions [B, L] as sentences, the end token left to the vocabulary."""
    return [" ".join(f"word{k}" for k in row[: int(n) - 1]) for row, n in zip(ids, mask.sum(axis=1), strict=True)]


def assert_weights(model, golden, prefix):
    for name, array in model.reference_weights().items():
        np.testing.assert_allclose(array, golden[f"{prefix}_{name}"], rtol=0, atol=1e-5, err_msg=name)


def test_adam_of_the_released_program(golden, tmp_path):
    trainer = golden_trainer(golden, tmp_path)
    assert trainer.validation_loss() == pytest.approx(float(golden["loss"]), abs=1e-5)
    for _ in trainer.run():
        if trainer.step == 1:
            assert_weights(trainer.model, golden, "adam1")
    assert trainer.step == trainer.last_step == 5
    assert_weights(trainer.model, golden, "adam5")
    np.testing.assert_allclose(trainer.losses_since_save, golden["adam_losses_before_each_step"], atol=1e-5)
    assert trainer.validation_loss() == pytest.approx(float(golden["loss_after_5"]), abs=1e-5)


def test_adam_moves_words_that_are_not_in_the_batch(golden, tmp_path):
    trainer = golden_trainer(golden, tmp_path)
    steps = trainer.run()
    next(steps)
    captions = golden_captions(golden["captionB"], golden["caption_maskB"])
    trainer.samples = data_loader.Samples(store.Store(trainer.config), trainer.vocabulary, list(enumerate(captions)))
    for _ in steps:
        pass
    assert_weights(trainer.model, golden, "adam1A4B")


def test_order_and_dropout_depend_on_seed_and_step_alone():
    def steps_from(first, seed):
        trainer = training.start(config_of("order", "n_epochs=2", f"seed={seed}"))
        trainer.step, steps = first, []

        def record(descriptors, captions, masks, dropout_seed):
            samples = zip(descriptors.numpy(), captions.numpy(), masks.numpy().astype(bool), strict=True)
            steps.append(([(one.tobytes(), *ids[mask]) for one, ids, mask in samples], dropout_seed))
            return 0.0

        trainer._step = record
        for _ in trainer.run():
            pass
        return steps

    steps = steps_from(0, seed=7)
    assert [dropout_seed for _, dropout_seed in steps] == [(7, k) for k in range(8)]
    assert [len(samples) for samples, _ in steps] == [4, 4, 4, 2, 4, 4, 4, 2]
    first, second = ([one for samples, _ in steps[k : k + 4] for one in samples] for k in (0, 4))
    assert first != second and sorted(first) == sorted(second)
    assert len(set(first)) == 14  # every caption of every video, once
    assert steps_from(5, seed=7) == steps[5:]
    assert steps_from(0, seed=8)[0][0] != steps[0][0]


def test_loss_falls_on_what_can_be_learnt(trainer):
    losses = loss_rows("experiments/unbroken")
    assert losses[:, 0].tolist() == DUE == checkpoint.steps("experiments/unbroken")
    assert losses[-1, 1] < losses[0, 1] * 2 / 3
    assert losses[-1, 2] < losses[0, 2] * 2 / 3
    assert trainer.step == 24


def test_one_trace_serves_batches_of_every_size(trainer):
    shapes = [captions.shape for _, captions, _ in trainer.samples.batches(trainer.samples.order(0))]
    shapes += [captions.shape for _, captions, _ in trainer.samples.batches(trainer.samples.order(1))]
    assert len({n_samples for n_samples, _ in shapes}) > 1 and len({length for _, length in shapes}) > 1
    assert trainer._step.experimental_get_tracing_count() == 1
    assert trainer._loss_sum.experimental_get_tracing_count() == 1


def test_validation_counts_words_not_batches(trainer, monkeypatch):
    by_fours = trainer.validation_loss()
    losses = [trainer.model.caption_loss(*batch) for batch in trainer.validation.batches()]
    assert abs(np.mean(losses) - by_fours) > 1e-4  # the mean of the batches is something else
    at_once = dataclasses.replace(trainer.config, batch_size=100)
    media = annotations.split_media(annotations.read_media(at_once), "validate")
    monkeypatch.setattr(
        trainer, "validation", data_loader.validation_samples(store.Store(at_once), trainer.vocabulary, media)
    )
    assert len(list(trainer.validation.batches())) == 1 < len(losses)
    assert trainer.validation_loss() == pytest.approx(by_fours, abs=1e-6)


def test_checkpoint_tells_what_it_is(trainer):
    for step, train_loss, validation_loss in loss_rows("experiments/unbroken"):
        state = checkpoint.load(f"experiments/unbroken/model-{step:.0f}").state
        assert state["step"] == step and state["epoch"] == step / 4
        assert state["train_loss"] == pytest.approx(train_loss, abs=1e-6)
        assert state["validation_loss"] == pytest.approx(validation_loss, abs=1e-6)
        assert state["losses_since_save"] == []


# Stopped and resumed


STOPPED_RUN = """
import os, runpy, sys
root, step, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
sys.path.insert(0, root)
from system import device
device.start_tensorflow()
from captioner import training
run = training.Trainer.run

def stopped(trainer):
    for _ in run(trainer):
        if trainer.step == step:
            os.kill(os.getpid(), number)
        yield

training.Trainer.run = stopped
sys.argv = [os.path.join(root, "run_s2vt.py"), *sys.argv[4:]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_until(step, number, *arguments):
    """run_s2vt.py --train in experiments/broken, which gets signal `number` after `step` -> the ended process."""
    arguments = ["--dataset", "MSR-VTT", "--experiment", "experiments/broken", "--train", *arguments]
    command = [sys.executable, "-c", STOPPED_RUN, str(ROOT), str(step), str(int(number)), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_resumed_run_ends_like_the_unbroken_one(trainer):
    broken = Path("experiments/broken")
    settings = [word for assignment in SETTINGS for word in ("--set", assignment)]

    interrupted = run_until(5, signal.SIGINT, *settings)  # Ctrl-C
    assert interrupted.returncode == 130, interrupted.stderr
    assert "stopped at step 5" in interrupted.stderr and "Traceback" not in interrupted.stderr
    assert checkpoint.steps(broken) == [3, 5]
    assert loss_rows(broken)[..., 0] == 3  # one row

    killed = run_until(15, signal.SIGKILL, "--resume")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert checkpoint.steps(broken) == [3, 6, 10, 13]  # 5 has made room for 6, and 14 and 15 are lost

    resumed = training.resume(config_of("broken"), [])
    assert resumed.step == 13
    training.train(resumed)
    assert checkpoint.steps(broken) == DUE
    assert (broken / "loss.tsv").read_bytes() == Path("experiments/unbroken/loss.tsv").read_bytes()
    for name in ("weights.npz", "optimizer.npz"):
        with np.load(broken / "model-24" / name) as arrays, np.load(f"experiments/unbroken/model-24/{name}") as others:
            assert arrays.files == others.files
            for key in arrays.files:
                assert np.array_equal(arrays[key], others[key]), (name, key)
    states = [
        json.loads(Path(folder, "model-24/state.json").read_text()) for folder in (broken, "experiments/unbroken")
    ]
    assert states[0] == states[1]


def test_exported_captioner_cannot_be_resumed(copied):
    (copied / "model-24/optimizer.npz").unlink()
    with pytest.raises(UserError, match=r"has no optimizer\.npz, as an exported one: train anew"):
        training.resume(config_of("copied"), [])


def test_interim_checkpoint_gives_way_to_the_next(copied):
    for step, losses, kept in (
        (25, [1.0], [24, 25]),
        (26, [1.0], [24, 26]),
        (28, [], [24, 28]),
        (29, [1.0], [24, 28, 29]),
    ):
        trainer = training.resume(config_of("copied"), [])
        trainer.step, trainer.losses_since_save = step, losses  # none left to report: it was due
        trainer.save()
        assert checkpoint.steps(copied)[len(DUE) - 1 :] == kept


def test_rows_that_a_killed_run_lost_are_written_anew(tmp_path):
    table = training.LossTable(tmp_path / "loss.tsv", up_to=0)
    for step in (3, 6, 9):
        table.append(step, 2.0, 1 / 3)
    table = training.LossTable(tmp_path / "loss.tsv", up_to=6)
    table.append(12, 1.0, 0.5)
    expected = "checkpoint\ttrain\tvalidation\n3\t2.000000\t0.333333\n6\t2.000000\t0.333333\n12\t1.000000\t0.500000\n"
    assert (tmp_path / "loss.tsv").read_text() == expected


def test_more_epochs_keep_the_checkpoint_that_was_the_last(copied):
    config = dataclasses.replace(config_of("copied"), batch_size=1)  # of no account: the checkpoint's settings count
    longer = training.resume(config, ["n_epochs=7", "max_to_keep=4"])
    assert longer.config == dataclasses.replace(config_of("copied"), n_epochs=7, max_to_keep=4)
    assert (longer.step, longer.last_step) == (24, 28)
    best = training.train(longer)
    assert 24 not in longer.save_points()
    assert checkpoint.steps(copied)[-4:] == [22, 24, 26, 28]
    assert set(checkpoint.steps(copied)) == {22, 24, 26, 28, best}
    assert loss_rows(copied)[:, 0].tolist() == [*DUE, 26, 28]


def test_what_resuming_may_not_change_is_refused(copied):
    before = content(copied)
    for assignment in ("dim_hidden=16", "batch_size=2", "learning_rate=1", "seed=1", "cell_clip=1"):
        with pytest.raises(UserError, match="fixed by the checkpoint; here one can set data_dir, descriptors_root,"):
            training.resume(config_of("copied"), [assignment])
    with pytest.raises(UserError, match="no setting 'epochs'"):
        training.resume(config_of("copied"), ["epochs=9"])
    assert content(copied) == before


def test_there_must_be_something_to_resume(copied):
    with pytest.raises(UserError, match=r"no checkpoint in experiments/new to resume from: leave out --resume"):
        training.resume(config_of("new"), [])
    demo = dataclasses.replace(cfg.DATASETS["Demo"], experiment=str(copied))
    with pytest.raises(UserError, match="model-24 was trained on MSR-VTT, not Demo"):
        training.resume(demo, [])
    (copied / "model-24" / "optimizer.npz").write_bytes(b"")
    with pytest.raises(UserError, match="model-24 is damaged"):
        training.resume(config_of("copied"), [])


def change_state(folder, **values):
    path = folder / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_run_is_not_resumed_on_other_samples(copied):
    change_state(copied / "model-24", n_samples=1)
    with pytest.raises(UserError, match=r"model-24 was trained on 1 captions, and now there are \d+: .* train anew"):
        training.resume(config_of("copied"), [])


def test_descriptors_of_another_cnn_are_refused(copied):
    config = config_of("copied")
    change_state(copied / "model-24", cnn_weights_id="one")
    stored = config.descriptors_dir / store.CNN_FILE
    before = stored.read_bytes() if stored.exists() else None
    try:
        stored.write_text(json.dumps({"weights_id": "other"}))
        message = r"model-24 was trained on descriptors of .* with other weights \(one\) than those in .* \(other\)"
        with pytest.raises(UserError, match=message):
            training.resume(config, [])
        with pytest.raises(UserError, match=message):
            testing.test("MSR-VTT", copied, 24)
    finally:
        stored.unlink() if before is None else stored.write_bytes(before)


def test_second_interrupt_does_not_wait():
    handler = signal.getsignal(signal.SIGINT)
    with training.interrupt_flag() as interrupted:
        assert not interrupted
        signal.raise_signal(signal.SIGINT)
        assert interrupted
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == handler


# The experiment's folder


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
        training.start(config_of("copied"))
    assert content(copied) == before


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
    foreign = ["notes.txt", "model-x.json", "model-6.bak.json", "figures/model-3/figure.png"]
    ours = ["loss.tsv", "scores.txt", "saliency_scores.json", "tensorboard/events"]
    ours += ["model-6.json", "model-99.json", "model-6-validate.json", "model-6-validate-beam5.json"]
    for name in (*ours, *foreign):
        (experiment / name).parent.mkdir(parents=True, exist_ok=True)
        (experiment / name).write_text(name)
    (experiment / ".model-9.partial-99999999").mkdir()  # no process has such a number
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


# Captions of a split, and their scores


@pytest.fixture
def no_java(monkeypatch):
    """Java takes seconds to start; test_caption_scores.py has the scores that need it."""

    def missing(*_args):
        raise testing.caption_scores.JavaError("there is no Java here")

    monkeypatch.setattr(testing.caption_scores, "tokenize_ptb", missing)
    monkeypatch.setattr(testing.caption_scores, "meteor", missing)


def test_scores_and_predictions_are_written_down(copied, no_java):
    best = checkpoint.best_step(copied)
    run, path = testing.test("MSR-VTT", copied)
    assert path == copied / f"model-{best}.json"
    about = {"checkpoint": best, "dataset": "MSR-VTT", "split": "test", "n_media": 3, "beam_size": 1}
    assert run.items() >= about.items()
    assert set(testing.METRICS) <= set(run)
    written = json.loads(path.read_text())
    predictions = {one["media_id"]: one["caption"] for one in written.pop("predictions")}
    assert written == run
    expected = {f"video{n}": COLOURS[n % 3] for n in (12, 13, 14)}
    assert set(predictions) == set(expected)
    for video, colour in expected.items():  # learnt: only its own colour is in the caption
        assert [word for word in predictions[video].split() if word in COLOURS] == [colour]
    assert run["Bleu_1"] > 0.8 and run["METEOR"] is None

    other, _ = testing.test("MSR-VTT", copied, 6, "validate", ["batch_size=2", "beam_size=3"])
    about = {"checkpoint": 6, "dataset": "MSR-VTT", "split": "validate", "n_media": 5, "beam_size": 3}
    assert other.items() >= about.items()
    lines = (copied / "scores.txt").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [run, other]
    assert len(json.loads((copied / "model-6-validate-beam3.json").read_text())["predictions"]) == 5


def test_batch_size_does_not_change_the_captions(trainer):
    saved = checkpoint.load("experiments/unbroken/model-24")
    media = annotations.split_media(annotations.read_media(saved.config), "validate")
    captions = []
    for batch_size in (1, 4, 100):
        saved.config = dataclasses.replace(saved.config, batch_size=batch_size)
        captions.append(testing.caption_media(saved, media))
    assert captions[0] == captions[1] == captions[2]
    assert list(captions[0]) == [medium.id for medium in media]


def test_what_cannot_be_tested_is_refused(copied, tmp_path):
    before = content(copied)
    with pytest.raises(UserError, match="no checkpoint 7; there are 3, 6, 10"):
        testing.test("MSR-VTT", copied, 7)
    with pytest.raises(UserError, match="was trained on MSR-VTT, not Flickr8k"):
        testing.test("Flickr8k", copied)
    with pytest.raises(UserError, match="'seed' is fixed by the checkpoint; here one can set data_dir"):
        testing.test("MSR-VTT", copied, assignments=["seed=1"])
    shutil.copytree("DATA/MSR_VTT", tmp_path / "no test set", ignore=shutil.ignore_patterns("test_*"))
    with pytest.raises(UserError, match="no test set has no test split: its annotations are missing"):
        testing.test("MSR-VTT", copied, assignments=[f"data_dir={tmp_path / 'no test set'}"])
    assert content(copied) == before
