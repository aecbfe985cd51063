"""Every method on a captioner of random weights, and on words that have nothing to do with the picture."""

import types

import numpy as np
import pytest
import scipy.ndimage

import data_loader
import s2vt_model
import saliency
from explain import attribution, s2vt_scene

WORDS = [2, 3, 4]


@pytest.fixture(scope="module")
def captioner():
    """A captioner of random weights: one, for which every method is traced once."""
    rng = np.random.default_rng(0)
    model = s2vt_model.S2VT(n_words=11, dim_image=5, dim_hidden=6, dim_word_emb=3, n_frame_step=4, n_lstm_step=6)
    model.load_reference_weights({k: rng.normal(0, 1, array.shape) for k, array in model.reference_weights().items()})
    return model


@pytest.fixture
def blind(captioner):
    """The captioner while it embeds every descriptor as zeros, so nothing that it sees makes a difference."""
    weights = captioner.reference_weights()
    captioner.load_reference_weights(weights | {"embed_features_W": np.zeros((5, 6))})
    yield captioner
    captioner.load_reference_weights(weights)


@pytest.fixture(scope="module", params=[(), (2, 1)], ids=["grid", "pyramid"])
def scene(request, captioner):
    rng = np.random.default_rng(1)
    grid, blank = rng.normal(0, 1, (2, 4, 3, 5)).astype(np.float32)
    return s2vt_scene.S2VTScene(captioner, grid, blank, request.param)


def log_q(scene, grid):
    """Straight from the definition: the captioner reads the grid [Gy, Gx, D] -> [T]."""
    sequence = data_loader.as_sequence(grid, scene.levels)
    return scene.model.word_log_probs(sequence[None], np.array([WORDS], np.int32)).numpy()[0]


def test_masked_pictures(scene):
    masks = np.zeros((3, 12))
    masks[1] = 1
    masks[2, [1, 5]] = 1
    mixed = scene.blank.copy()
    mixed[0, 1], mixed[1, 2] = scene.grid[0, 1], scene.grid[1, 2]
    expected = [log_q(scene, grid) for grid in (scene.blank, scene.grid, mixed)]
    np.testing.assert_allclose(scene.log_q(masks, WORDS), expected, atol=1e-5)


@pytest.mark.parametrize("name", attribution.METHODS)
def test_shape_and_determinism(scene, name):
    maps = attribution.METHODS[name](scene, WORDS)
    assert maps.shape == (3, 4, 3) and maps.dtype == np.float32
    assert np.ptp(maps, axis=(1, 2)).min() > 0
    np.testing.assert_array_equal(maps, attribution.METHODS[name](scene, WORDS))


@pytest.mark.parametrize("name", attribution.METHODS)
def test_a_word_that_ignores_the_picture_has_no_map(blind, name):
    rng = np.random.default_rng(1)
    grid, blank = rng.normal(0, 1, (2, 4, 3, 5)).astype(np.float32)
    maps = attribution.METHODS[name](s2vt_scene.S2VTScene(blind, grid, blank), WORDS)
    assert not saliency.normalize_linear(maps[None]).any()


@pytest.mark.parametrize("places", [[1], [2, 0]])
@pytest.mark.parametrize("name", attribution.METHODS)
def test_some_words_alone_have_the_maps_that_they_have_among_all(scene, name, places):
    maps = attribution.METHODS[name](scene, WORDS)[places]
    for asking in (scene.asking(places), attribution.Scene.asking(scene, places)):  # the network's own way, and any
        np.testing.assert_allclose(attribution.METHODS[name](asking, WORDS), maps, atol=1e-5)
    assert scene.places is None


def test_leave_one_out_by_its_definition(scene):
    maps = attribution.leave_one_out(scene, WORDS)
    for row, column in ((0, 0), (3, 1)):
        without = scene.grid.copy()
        without[row, column] = scene.blank[row, column]
        np.testing.assert_allclose(maps[:, row, column], log_q(scene, scene.grid) - log_q(scene, without), atol=1e-5)


def test_single_minus_blank_by_its_definition(scene):
    maps = attribution.single_minus_blank(scene, WORDS)
    of_cell, of_blank = (saliency.raw_maps(scene.model, grid[None], WORDS)[0] for grid in (scene.grid, scene.blank))
    np.testing.assert_allclose(maps, of_cell - of_blank, atol=1e-6)


def test_single_linear_by_differences(scene):
    maps, step = attribution.single_linear(scene, WORDS), 1e-2
    grey = scene.blank.reshape(-1, 5).mean(axis=0)  # one for all cells
    for row, column in ((0, 1), (3, 2)):
        away = step * (scene.grid[row, column] - grey)
        sequences = np.stack([grey + away, grey - away])[:, None]  # [2, 1, D]
        more, less = scene.model.word_log_probs(sequences, np.array([WORDS], np.int32)).numpy()
        np.testing.assert_allclose(maps[:, row, column], (more - less) / (2 * step), atol=2e-3)


def test_best_adds_what_stands_around_a_cell(monkeypatch):
    """One cell of 20 x 10 speaks for the word, inside or in a corner; all of them do."""
    maps = np.zeros((3, 20, 10), np.float32)
    maps[0, 9, 4], maps[1, 0, 0], maps[2] = 1, 1, 1
    monkeypatch.setattr(attribution, "single_linear", lambda scene, word_ids: maps)
    inside, corner, everywhere = attribution.best(types.SimpleNamespace(names=False), None)
    below, beside = np.exp(-0.5 * (np.array([3 / 20, 2 / 10]) / attribution.SURROUNDINGS) ** 2)
    assert inside[12, 4] == pytest.approx(inside[9, 4] * below, rel=1e-3)
    assert inside[9, 6] == pytest.approx(inside[9, 4] * beside, rel=1e-3)
    assert inside.sum() == pytest.approx(1, abs=1e-3)
    assert corner[0, 0] == corner.max() == pytest.approx(inside[9, 4], rel=1e-3)  # nothing comes back from the edge
    assert everywhere[10, 5] == pytest.approx(1, abs=1e-3) and everywhere[0, 0] < 0.6


def test_naming_linear_by_differences(scene):
    maps, step = attribution.naming_linear(scene, WORDS), 1e-2
    grey = scene.blank.reshape(-1, 5).mean(axis=0)
    for row, column in ((0, 1), (3, 2)):
        away = step * (scene.grid[row, column] - grey)
        more, less = scene.model.name_scores(np.stack([grey + away, grey - away])).numpy()[:, WORDS]
        np.testing.assert_allclose(maps[:, row, column], (more - less) / (2 * step), atol=2e-3)


def test_best_asks_for_names_where_they_were_learnt(scene):
    by_sentence = attribution.best(scene, WORDS)
    naming = s2vt_scene.S2VTScene(scene.model, scene.grid, scene.blank, scene.levels, names=True)
    by_both = attribution.best(naming, WORDS)
    sigma = [0, 4 * attribution.SURROUNDINGS, 3 * attribution.SURROUNDINGS]
    by_name = scipy.ndimage.gaussian_filter(attribution.naming_linear(scene, WORDS), sigma, mode="constant")
    np.testing.assert_allclose(by_both, by_sentence + by_name, atol=1e-5)


def test_gradients_by_differences(scene):
    maps, step = attribution.gradient_x_input(scene, WORDS), 1e-2
    for cell in (0, 7):
        masks = np.ones((2, 12))
        masks[:, cell] += [step, -step]
        more, less = scene.log_q(masks, WORDS)
        np.testing.assert_allclose(maps.reshape(3, -1)[:, cell], (more - less) / (2 * step), atol=2e-3)


def test_integrated_gradients_sum_to_what_the_picture_adds(scene):
    maps = attribution.integrated_gradients(scene, WORDS)
    added = log_q(scene, scene.grid) - log_q(scene, scene.blank)
    assert np.abs(added).min() > 0.01
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), added, atol=2e-3)


def test_grad_cam_by_differences(scene):
    weights, step = np.zeros((3, 5)), 1e-2
    for channel in range(5):  # the sum of the gradients over all cells
        more, less = scene.grid.copy(), scene.grid.copy()
        more[..., channel] += step
        less[..., channel] -= step
        weights[:, channel] = (log_q(scene, more) - log_q(scene, less)) / (2 * step) / 12
    expected = np.maximum(0, np.einsum("td,yxd->tyx", weights, scene.grid))
    np.testing.assert_allclose(attribution.grad_cam(scene, WORDS), expected, atol=2e-3)


def test_rise_by_its_definition(scene):
    masks = np.random.default_rng(attribution.SEED).random((attribution.N_MASKS, 12)) < attribution.KEPT
    log_q = scene.log_q(masks, WORDS)
    for cell in (2, 9):
        expected = log_q[masks[:, cell]].mean(axis=0) - log_q.mean(axis=0)
        np.testing.assert_allclose(attribution.rise(scene, WORDS).reshape(3, -1)[:, cell], expected, atol=1e-5)
