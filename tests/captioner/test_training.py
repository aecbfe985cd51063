"""Training on tiny sets of descriptors: Adam's steps, their order, and what they come to."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import cfg
import data_loader
from captioner import checkpoint, training
from datasets import annotations, store
from tests.small_runs import DUE, config_of, loss_rows

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("workplace")]

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden" / "golden_model.npz"
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
        np.save(store.Store(config).path(str(k)), video)
    vocabulary = data_loader.Vocabulary([".", *(f"word{k}" for k in range(1, 23))])
    model = checkpoint.build_model(config, vocabulary, dim_image=16)
    model.load_reference_weights(golden)
    captions = golden_captions(golden["caption"], golden["caption_mask"])
    media = {
        f"{split} {k}": annotations.Medium(str(k), Path(f"{k}.mp4"), split, (caption,))
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
    pairs = [(str(k), caption) for k, caption in enumerate(captions)]
    trainer.samples = data_loader.Samples(store.Store(trainer.config), trainer.vocabulary, pairs)
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
            return 0.0, True

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


@pytest.mark.parametrize("share", [1, 0.8, 0.5, 0.3, 0.1, 0.0001])
@pytest.mark.parametrize("n_epochs", [1, 3, 7])
def test_a_checkpoint_is_due_after_every_share_of_an_epoch(trainer, monkeypatch, share, n_epochs):
    monkeypatch.setattr(trainer, "config", dataclasses.replace(trainer.config, save_every_n_epoch=share))
    monkeypatch.setattr(trainer, "last_step", trainer.steps_per_epoch * n_epochs)
    every = share * trainer.steps_per_epoch
    expected = {max(1, round(k * every)) for k in range(1, int(trainer.last_step / every) + 1)} | {trainer.last_step}
    assert {step for step in range(1, trainer.last_step + 1) if trainer.is_due(step)} == expected


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
