"""Checkpoints: what goes in comes out, and what is damaged is refused in one line."""

import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest

import cfg
import data_loader
from captioner import checkpoint
from system import files
from system.errors import UserError

CONFIG = dataclasses.replace(
    cfg.DATASETS["MSR-VTT"], dim_hidden=8, dim_word_emb=4, n_lstm_step=5, cell_clip=2.0, forget_bias=0.5, seed=3
)
VOCABULARY = data_loader.Vocabulary([".", "a", "café"], [5, 4, 2], {"thé": ["café"]})


@pytest.fixture(scope="module")
def trained():
    """A model and its optimizer after a step, so that no moment is zero."""
    model = checkpoint.build_model(CONFIG, VOCABULARY, dim_image=6, output_bias=[0.0, -1.0, -2.0])
    optimizer = keras.optimizers.Adam(1e-2)
    optimizer.build(model.trainable_variables)
    rng = np.random.default_rng(0)
    optimizer.apply([rng.normal(0, 1, variable.shape).astype(np.float32) for variable in model.trainable_variables])
    return model, optimizer


def save(trained, experiment, step, **state):
    checkpoint.save(experiment, step, CONFIG, VOCABULARY, *trained, state)
    return checkpoint.folder_of(experiment, step)


def test_published_checkpoint_is_small_and_nearly_the_same(trained, tmp_path):
    saved = checkpoint.load(save(trained, tmp_path / "own", 7, validation_loss=2.5, losses_since_save=[1.0]))
    folder = checkpoint.publish(saved, tmp_path / "published")
    assert names(folder) == ["config.json", "state.json", "vocabulary.json", "weights.npz", "words.json"]
    published = checkpoint.load(folder)
    assert published.config == saved.config and vars(published.vocabulary) == vars(VOCABULARY)
    assert published.state == {"step": 7, "validation_loss": 2.5, "losses_since_save": []}
    for name, array in saved.model.reference_weights().items():
        np.testing.assert_allclose(published.model.reference_weights()[name], array, rtol=1e-3, atol=1e-6)
    with np.load(folder / "weights.npz") as arrays:
        assert {array.dtype for array in arrays.values()} == {np.dtype(np.float16)}
    with pytest.raises(UserError, match="published has a checkpoint already"):
        checkpoint.publish(saved, tmp_path / "published")
    saved.model.predict_word_b.assign(saved.model.predict_word_b + 1e6)
    with pytest.raises(UserError, match="exceed float16"):
        checkpoint.publish(saved, tmp_path / "large")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_was_saved_is_loaded(trained, tmp_path):
    model, optimizer = trained
    losses = [0.1, 1 / 3, 1e-7]
    folder = save(trained, tmp_path / "experiment", 12, validation_loss=2.5, losses_since_save=losses)
    assert folder == tmp_path / "experiment" / "model-12"
    expected = ["config.json", "optimizer.npz", "state.json", "vocabulary.json", "weights.npz", "words.json"]
    assert names(folder) == expected
    loaded = checkpoint.load(folder)
    assert loaded.folder == folder
    assert loaded.config == CONFIG
    assert vars(loaded.vocabulary) == vars(VOCABULARY)
    assert loaded.state == {"step": 12, "validation_loss": 2.5, "losses_since_save": losses}
    for name, array in model.reference_weights().items():
        np.testing.assert_array_equal(loaded.model.reference_weights()[name], array)
    assert (loaded.model.cell_clip, loaded.model.forget_bias) == (2.0, 0.5)
    assert (loaded.model.n_frame_step, loaded.model.n_lstm_step) == (26, 5)

    fresh = keras.optimizers.Adam(1e-3)
    fresh.build(loaded.model.trainable_variables)
    checkpoint.load_optimizer(folder, fresh, loaded.model)
    assert int(fresh.iterations) == 1
    for variable, stored in zip(fresh.variables, optimizer.variables, strict=True):
        np.testing.assert_array_equal(variable, stored)


def test_pickle_is_neither_needed_nor_read(trained, tmp_path):
    folder = save(trained, tmp_path, 1)
    for name in ("weights.npz", "optimizer.npz"):
        with np.load(folder / name, allow_pickle=False) as arrays:
            assert all(arrays[key].dtype != object for key in arrays)
    np.savez(folder / "weights.npz", **dict.fromkeys(trained[0].reference_weights(), np.array([{}], object)))
    with pytest.raises(UserError, match="damaged"):
        checkpoint.load(folder)


def test_checkpoint_of_another_data_set_is_refused(trained, tmp_path):
    loaded = checkpoint.load(save(trained, tmp_path, 1))
    loaded.check_dataset("MSR-VTT")
    with pytest.raises(UserError, match=r"model-1 was trained on MSR-VTT, not Flickr8k"):
        loaded.check_dataset("Flickr8k")


def test_checkpoint_on_another_data_set_of_the_same_kind(trained, tmp_path):
    loaded = checkpoint.load(save(trained, tmp_path, 1))
    own, other = loaded.on("MSR-VTT", ["data_dir=there"]), loaded.on("Demo")
    assert own.config == dataclasses.replace(CONFIG, data_dir="there") and own.model is loaded.model
    assert other.config == dataclasses.replace(CONFIG, dataset="Demo", data_dir="DATA/Demo")
    assert loaded.config == CONFIG
    with pytest.raises(UserError, match=r"model-1 was trained on videos, those of MSR-VTT, and COCO has images: name"):
        loaded.on("COCO")


def truncated(path):
    path.write_bytes(path.read_bytes()[:-40])


def emptied(path):
    path.write_bytes(b"")


def flipped(path):
    """One bit of the data is wrong, which only a check sum can tell."""
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


def of_another_kind(path):
    path.write_text("17")


def removed(path):
    path.unlink()


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *((name, damage) for name in ("weights.npz", "optimizer.npz") for damage in (truncated, emptied, flipped)),
        *(
            (name, damage)
            for name in ("config.json", "vocabulary.json", "state.json")
            for damage in (truncated, emptied)
        ),
        *((name, of_another_kind) for name in ("config.json", "vocabulary.json", "state.json", "words.json")),
        *((name, removed) for name in ("optimizer.npz", "config.json", "vocabulary.json", "state.json")),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_damaged_checkpoint_is_refused_by_name(trained, tmp_path, name, damage):
    folder = save(trained, tmp_path, 7)
    damage(folder / name)
    with pytest.raises(UserError, match="model-7") as refusal:
        checkpoint.load(folder)
        checkpoint.load_optimizer(folder, trained[1], trained[0])
    assert "\n" not in str(refusal.value)
    if name == "state.json":
        with pytest.raises(UserError, match="model-7 is damaged"):
            checkpoint.choose(tmp_path)


@pytest.mark.parametrize("change", ["missing", "shape"])
def test_weights_that_do_not_fit_the_settings_are_refused(trained, tmp_path, change):
    folder = save(trained, tmp_path, 7)
    weights = trained[0].reference_weights()
    if change == "missing":
        del weights["Wemb"]
    else:
        weights["Wemb"] = weights["Wemb"][:-1]
    np.savez(folder / "weights.npz", **weights)
    with pytest.raises(UserError, match=r"model-7 is damaged \(.*Wemb"):
        checkpoint.load(folder)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("config.json", {"dim_hidden": "abc"}),
        ("config.json", {"dim_hidden": True}),
        ("config.json", {"n_lstm_step": 10**12}),
        ("state.json", {"step": "5"}),
        ("state.json", {"step": -1}),
        ("state.json", {"validation_loss": "low"}),
        ("state.json", {"validation_loss": 10**400}),
        ("state.json", {"losses_since_save": [1.0, None]}),
        ("state.json", {"n_samples": [3]}),
        ("state.json", {"cnn_weights_id": 3}),
        ("words.json", {"counts": [1, 2]}),
        ("words.json", {"counts": [5, 4, "2"]}),
        ("words.json", {"related": ["the"]}),
        ("words.json", {"related": {"the": "café"}}),
        ("words.json", {"related": {"the": ["unknown"]}}),
        ("vocabulary.json", [".", "a", 3]),
        ("vocabulary.json", [".", "a", "a"]),
        ("vocabulary.json", [".", "a", ["b"]]),
        ("vocabulary.json", {".": 1}),
    ],
    ids=str,
)
def test_values_of_another_kind_are_refused(trained, tmp_path, name, change):
    folder = save(trained, tmp_path, 7)
    old = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**old, **change} if isinstance(old, dict) else change))
    with pytest.raises(UserError, match=r"model-7.* damaged"):
        checkpoint.load(folder)


@pytest.mark.parametrize("name", ["weights.npz", "optimizer.npz"])
@pytest.mark.parametrize(
    "array",
    [np.array(1.0), np.array("a"), np.full(3, np.nan, np.float32), np.zeros((3000, 3000)), np.array([True] * 3)],
)
def test_arrays_of_another_kind_are_refused(trained, tmp_path, name, array):
    """In the place of a bias, whose shape is [3]; whatever else the archive holds is not read."""
    folder = save(trained, tmp_path, 7)
    with np.load(folder / name) as stored:
        arrays = dict(stored)
    of_the_bias = next(key for key in reversed(arrays) if arrays[key].shape == (3,))
    np.savez_compressed(folder / name, **(arrays | {of_the_bias: array}))
    with pytest.raises(UserError, match=r"model-7 is damaged"):
        checkpoint.load(folder)
        checkpoint.load_optimizer(folder, trained[1], trained[0])
    np.savez(folder / name, **arrays, more=array)
    checkpoint.load(folder)


def test_config_of_another_version_is_refused(trained, tmp_path):
    folder = save(trained, tmp_path, 7)
    values = json.loads((folder / "config.json").read_text())
    values["dropout"] = values.pop("input_keep_prob")
    (folder / "config.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match=r"model-7.config\.json .* differ: dropout\)"):
        checkpoint.load(folder)


def test_folder_that_is_no_checkpoint_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match=rf"{folder} is no checkpoint"):
            checkpoint.load(folder)


def write_state(experiment, step, **state):
    """As much of a checkpoint as it takes to choose it."""
    folder = checkpoint.folder_of(experiment, step)
    folder.mkdir()
    (folder / "state.json").write_text(json.dumps({"step": step, **state}))


def test_steps_are_the_checkpoints_alone(tmp_path):
    for step in (10, 9, 100):
        write_state(tmp_path, step)
    for other in ("model-5.json", "model-x", "model-7-old", "supermodel-3", ".model-4.partial-1"):
        (tmp_path / other).mkdir()
    (tmp_path / "model-8").write_text("a file")
    assert checkpoint.steps(tmp_path) == [9, 10, 100]
    assert checkpoint.steps(tmp_path / "nowhere") == []


def test_the_best_checkpoint_has_the_lowest_validation_loss(tmp_path):
    write_state(tmp_path, 2, validation_loss=float("nan"))  # the training went astray
    write_state(tmp_path, 4, validation_loss=1.5)
    write_state(tmp_path, 10, validation_loss=1.25)
    write_state(tmp_path, 12, validation_loss=1.25)
    write_state(tmp_path, 15)  # interrupted there: not measured
    assert checkpoint.best_step(tmp_path) == 10
    assert checkpoint.validation_loss(tmp_path, 4) == 1.5
    assert checkpoint.validation_loss(tmp_path, 15) == float("inf")
    assert checkpoint.choose(tmp_path) == tmp_path / "model-10"
    assert checkpoint.choose(tmp_path, 4) == tmp_path / "model-4"


def test_a_choice_that_is_not_there_names_those_that_are(tmp_path):
    with pytest.raises(UserError, match=rf"no checkpoint in {tmp_path}: run"):
        checkpoint.choose(tmp_path)
    write_state(tmp_path, 4)
    write_state(tmp_path, 10)
    with pytest.raises(UserError, match=r"no checkpoint 5; there are 4, 10$"):
        checkpoint.choose(tmp_path, 5)


# What a kill leaves on disk is what is there at that moment.


def test_kill_while_saving_leaves_no_half_checkpoint(trained, tmp_path, monkeypatch):
    experiment = tmp_path / "experiment"
    moments = []

    def killed_here(write):
        def write_and_copy(path, *args, **kwargs):
            moments.append(tmp_path / f"moment-{len(moments)}")
            shutil.copytree(experiment, moments[-1])
            write(path, *args, **kwargs)

        return write_and_copy

    monkeypatch.setattr(np, "savez", killed_here(np.savez))
    monkeypatch.setattr(files, "write_json", killed_here(files.write_json))
    save(trained, experiment, 5)
    assert checkpoint.steps(experiment) == [5] and len(names(experiment)) == 1
    assert len(moments) == 6  # the six files
    for moment in moments:
        assert checkpoint.steps(moment) == [] and names(moment) != []
        files.remove_partials(moment)
        assert names(moment) == []


def test_failure_while_saving_leaves_the_old_checkpoint(trained, tmp_path, monkeypatch):
    save(trained, tmp_path, 5, validation_loss=1.0)

    def fail(*_args, **_kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(files, "write_json", fail)
    with pytest.raises(UserError, match=r"model-5: cannot be written \(no space"):
        save(trained, tmp_path, 5, validation_loss=2.0)
    assert names(tmp_path) == ["model-5"]
    assert checkpoint.load(tmp_path / "model-5").state["validation_loss"] == 1.0


def test_saving_again_replaces_the_checkpoint(trained, tmp_path):
    save(trained, tmp_path, 5, validation_loss=1.0)
    save(trained, tmp_path, 5, validation_loss=2.0)
    assert names(tmp_path) == ["model-5"]
    assert checkpoint.load(tmp_path / "model-5").state["validation_loss"] == 2.0


def test_kill_while_removing_leaves_no_half_checkpoint(tmp_path, monkeypatch):
    write_state(tmp_path, 4, validation_loss=1.0)
    write_state(tmp_path, 5, validation_loss=2.0)

    def killed(folder, **_kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "rmtree", killed)
        files.remove_folder(tmp_path / "model-4")
    assert checkpoint.steps(tmp_path) == [5] and len(names(tmp_path)) == 2
    files.remove_partials(tmp_path)
    assert names(tmp_path) == ["model-5"]
