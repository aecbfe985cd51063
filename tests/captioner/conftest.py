"""One short run that ends, in a folder with its data set: trained once, copied by the tests that change it."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """The folder that everything here is started in, with the data set."""
    from tests.small_runs import config_of, write_data_set  # TensorFlow starts here: not before the tests are collected

    folder = tmp_path_factory.mktemp("training")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_data_set(config_of("any"))
    return folder


@pytest.fixture
def workplace(folder, monkeypatch):
    """We are in that folder."""
    monkeypatch.chdir(folder)


@pytest.fixture(scope="session")
def unbroken(folder):
    """The Trainer of an unbroken run, in experiments/unbroken."""
    from captioner import training
    from tests.small_runs import config_of

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        trainer = training.start(config_of("unbroken"))
        training.train(trainer)
    return trainer


@pytest.fixture
def trainer(unbroken, workplace):
    """The Trainer of an unbroken run, in experiments/unbroken of the folder that we are in."""
    return unbroken


@pytest.fixture
def copied(trainer):
    """A copy of the unbroken run's experiment, to be changed."""
    shutil.copytree("experiments/unbroken", "experiments/copied")
    yield Path("experiments/copied")
    shutil.rmtree("experiments/copied")
