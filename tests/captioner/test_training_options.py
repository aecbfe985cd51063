"""What training can be asked for: averages of the weights, schedules, weight decay, CIDEr-D; and to go on with it."""

import itertools
import shutil

import numpy as np
import pytest

import data_loader
from captioner import checkpoint, self_critical, training
from datasets import annotations
from system.errors import UserError
from tests.small_runs import config_of, trained

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("workplace")]


@pytest.fixture(scope="module")
def constant(folder):
    """The weights after every step of a run at a constant learning rate."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return trained("constant")[1]


def test_checkpoint_has_the_running_average_of_the_weights():
    averaging, weights = trained("averaging", "ema_decay=0.5")
    average = weights[1]  # the average starts at the first step
    for later in weights[2:]:
        average = {name: 0.5 * average[name] + 0.5 * later[name] for name in average}
    averaging.save(train_loss=1.0, validation_loss=averaging.validation_loss())
    saved = checkpoint.load("experiments/averaging/model-8")
    for name, array in saved.model.reference_weights().items():
        np.testing.assert_allclose(array, average[name], atol=1e-6, err_msg=name)
        np.testing.assert_array_equal(np.asarray(getattr(averaging.model, name)), weights[-1][name])
    same = averaging.validation.batches()
    sums = [saved.model.caption_loss_sum(*batch) for batch in same]
    assert saved.state["validation_loss"] == pytest.approx(float(sum(s for s, _ in sums) / sum(n for _, n in sums)))

    unbroken, _ = trained("unbroken average", "ema_decay=0.5", "n_epochs=3")
    resumed = training.resume(config_of("averaging"), ["n_epochs=3"])
    for _ in resumed.run():
        pass
    for part in ("model", "optimizer"):
        for mine, other in zip(getattr(resumed, part).variables, getattr(unbroken, part).variables, strict=True):
            np.testing.assert_array_equal(np.asarray(mine), np.asarray(other))


def test_learning_rate_falls_along_a_cosine(constant):
    trainer, weights = trained("cosine", "learning_rate_schedule=cosine")
    assert float(trainer.optimizer.learning_rate) == 0
    moved = [np.abs(after["Wemb"] - before["Wemb"]).max() for before, after in itertools.pairwise(weights)]
    assert moved[-1] < moved[0] / 10
    np.testing.assert_array_equal(weights[1]["Wemb"], constant[1]["Wemb"])  # it starts as the constant one


def test_weight_decay_shrinks_matrices_alone(constant):
    trainer, decayed = trained("decayed", "weight_decay=0.1")
    for name, start in constant[0].items():
        shrunk = 0.1 * trainer.config.learning_rate * start if start.ndim == 2 else 0
        np.testing.assert_allclose(decayed[1][name], constant[1][name] - shrunk, atol=1e-6, err_msg=name)


def test_self_critical_epochs_come_last_and_are_chosen_by_cider():
    trainer, _ = trained("self-critical", "n_epochs=4", "self_critical_epochs=1", "save_every_n_epoch=1")
    assert trainer.step == 16 and trainer.first_self_critical == 12
    assert all(loss > 0 for loss in trainer.losses_since_save[:12])
    assert all(loss <= 0 for loss in trainer.losses_since_save[12:])  # minus the reward
    captions = [ids for descriptors, *_ in trainer.validation.batches() for ids in trainer.model.generate(descriptors)]
    words = [[*(trainer.vocabulary.words[k] for k in ids), "."] for ids in captions]
    references = {
        medium.id: [[*data_loader.tokenize(caption), "."] for caption in medium.captions]
        for medium in annotations.split_media(annotations.read_media(trainer.config), "validate")
    }
    reward = self_critical.CiderD(references)
    expected = np.mean([reward.score(*pair) for pair in zip(references, words, strict=True)])
    assert trainer.validation_loss() == pytest.approx(-expected)
    trainer.save(train_loss=0.0, validation_loss=-expected)
    with pytest.raises(UserError, match="n_epochs=4 cannot be changed any more"):
        training.resume(config_of("self-critical"), ["n_epochs=5"])


@pytest.fixture(scope="module")
def unbroken_and_broken(folder):
    """The Trainer of an unbroken run with all of it, and the folders that another one left when it was stopped."""
    settings = "n_epochs=2", "self_critical_epochs=1", "learning_rate_schedule=cosine", "ema_decay=0.9"
    stopped = {step: f"stopped at {step}" for step in (3, 6)}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        unbroken, _ = trained("all of it", *settings)
        broken = training.start(config_of("broken all of it", *settings))
        for _ in broken.run():
            if broken.step in stopped:
                broken.save()
                shutil.copytree("experiments/broken all of it", f"experiments/{stopped[broken.step]}")
            if broken.step == max(stopped):
                break
    return unbroken, stopped


@pytest.mark.parametrize("stopped_at", [3, 6])
def test_resumed_run_ends_like_the_unbroken_one_whatever_it_trains_by(unbroken_and_broken, stopped_at):
    unbroken, stopped = unbroken_and_broken
    resumed = training.resume(config_of(stopped[stopped_at]), [])
    assert resumed.step == stopped_at
    for _ in resumed.run():
        pass
    for part in ("model", "optimizer"):
        for mine, other in zip(getattr(resumed, part).variables, getattr(unbroken, part).variables, strict=True):
            np.testing.assert_array_equal(np.asarray(mine), np.asarray(other))
