"""The method, against the released program's numbers and against its own definition."""

from pathlib import Path

import numpy as np
import pytest

import s2vt_model
import saliency

SHARED = Path(__file__).resolve().parents[2] / "shared"
GOLDEN = SHARED / "golden" / "golden_saliency.npz"
WORDS = [2, 3, 4, 5]


@pytest.fixture(scope="module")
def golden():
    if not GOLDEN.exists():
        pytest.skip(f"the released program's numbers are not here: {GOLDEN}")
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def golden_model(golden):
    model = s2vt_model.S2VT(13, 16, 12, 7, 26, int(golden["n_lstm_step"]))
    model.load_reference_weights(golden)
    return model


@pytest.fixture(scope="module")
def model():
    """A captioner of random weights, large enough that the words differ between descriptors."""
    rng = np.random.default_rng(0)
    model = s2vt_model.S2VT(n_words=11, dim_image=5, dim_hidden=6, dim_word_emb=3, n_frame_step=4, n_lstm_step=6)
    shapes = {name: array.shape for name, array in model.reference_weights().items()}
    model.load_reference_weights({name: rng.normal(0, 1, shape) for name, shape in shapes.items()})
    return model


@pytest.fixture(scope="module")
def grids():
    """Descriptors of a clip [F, Gy, Gx, D] whose grid is not square."""
    return np.random.default_rng(1).normal(0, 1, (4, 2, 3, 5)).astype(np.float32)


@pytest.fixture
def maps():
    """Raw maps [F, T, Gy, Gx], as far below zero as log-probabilities are."""
    return np.random.default_rng(2).normal(-5, 2, (6, 3, 4, 5)).astype(np.float32)


def as_maps(listed):
    """The released program's [F, T, 64] as [F, T, 8, 8]."""
    return listed.reshape(*listed.shape[:2], 8, 8)


# The released program


def test_smoothed_descriptors_of_the_released_program(golden):
    for features, smoothed in (
        (golden["features"], "features_smoothed"),
        (golden["features"][:1], "one_frame_smoothed"),
    ):
        np.testing.assert_allclose(saliency.smooth_descriptors(features), golden[smoothed], atol=1e-6)


@pytest.mark.parametrize(
    ("features", "raw_maps"),
    [("features_smoothed", "raw_maps"), ("features", "raw_maps_unsmoothed"), ("one_frame_smoothed", "one_frame_raw")],
)
def test_raw_maps_of_the_released_program(golden, golden_model, features, raw_maps):
    computed = saliency.raw_maps(golden_model, golden[features], golden["sentence_ids"])
    np.testing.assert_allclose(computed, as_maps(golden[raw_maps]), atol=1e-4)


@pytest.mark.parametrize(
    ("normalizer", "raw_maps", "normalized"),
    [
        ("subtract_word_mean", "raw_maps", "time_normalized"),
        ("normalize_frames", "raw_maps", "normalized"),
        ("normalize_frames", "raw_maps_unsmoothed", "normalized_unsmoothed"),
        ("normalize_frames", "one_frame_raw", "one_frame_normalized"),
        ("normalize_released", "raw_maps", "filtered"),
        ("normalize_released", "raw_maps_unsmoothed", "filtered_unsmoothed"),
        ("normalize_released", "one_frame_raw", "one_frame_filtered"),
    ],
)
def test_normalizers_of_the_released_program(golden, normalizer, raw_maps, normalized):
    computed = getattr(saliency, normalizer)(as_maps(golden[raw_maps]))
    np.testing.assert_allclose(computed, as_maps(golden[normalized]), atol=1e-5)


def test_constant_maps_are_zeros_where_the_released_program_has_nan(golden):
    assert np.isnan(golden["constant_normalized"]).all()
    constant = np.full_like(as_maps(golden["constant_normalized"]), -3.5)
    for name in ("normalize_linear", "subtract_word_mean", "normalize_frames", "normalize_released"):
        np.testing.assert_array_equal(getattr(saliency, name)(constant), np.zeros_like(constant))


# The definition


def test_raw_maps_show_every_descriptor_alone(model, grids):
    maps = saliency.raw_maps(model, grids, WORDS)
    assert maps.shape == (4, 4, 2, 3) and maps.dtype == np.float32
    for f, y, x in ((0, 0, 0), (1, 1, 0), (3, 0, 2)):
        alone = model.word_log_probs(grids[f, y, x][None, None], np.array([WORDS], np.int32))[0]  # [T]
        np.testing.assert_allclose(maps[f, :, y, x], alone, atol=1e-6)


def test_temporal_curve_shows_every_frame_alone(model, grids):
    pooled = grids.mean(axis=(1, 2))  # [F, D]
    curve = saliency.temporal_curve(model, pooled, WORDS)
    assert curve.shape == (4, 4)
    np.testing.assert_allclose(curve, saliency.raw_maps(model, pooled[:, None, None], WORDS)[..., 0, 0], atol=1e-6)


@pytest.mark.parametrize("at_once", [1, 5, 7])
def test_raw_maps_do_not_depend_on_the_parts_they_are_computed_in(model, grids, monkeypatch, at_once):
    target = saliency.full_input_log_probs(model, grids.reshape(-1, 5), WORDS)
    whole = [saliency.raw_maps(model, grids, WORDS, log_probs) for log_probs in (None, target)]
    monkeypatch.setattr(saliency, "LOGITS_AT_ONCE", at_once * len(WORDS) * model.n_words)
    sizes = []
    for name in ("_word_log_probs", "_negative_kl"):
        compute = getattr(saliency, name)
        monkeypatch.setattr(
            saliency, name, lambda model, part, *rest, f=compute: sizes.append(len(part)) or f(model, part, *rest)
        )
    for log_probs, expected in zip((None, target), whole, strict=True):
        np.testing.assert_allclose(saliency.raw_maps(model, grids, WORDS, log_probs), expected, atol=1e-6)
    rest = [24 % at_once] if 24 % at_once else []
    assert sizes == 2 * ([at_once] * (24 // at_once) + rest)


def test_maps_against_a_certain_target_are_those_of_the_sentence(model, grids):
    certain = np.full((len(WORDS), model.n_words), -np.inf, np.float32)
    certain[np.arange(len(WORDS)), WORDS] = 0
    expected = saliency.raw_maps(model, grids, WORDS)
    np.testing.assert_allclose(saliency.raw_maps(model, grids, WORDS, certain), expected, atol=1e-5)
    np.testing.assert_allclose(
        saliency.temporal_curve(model, grids[:, 0, 0], WORDS, certain), expected[:, :, 0, 0], atol=1e-5
    )


def test_maps_against_the_full_input_are_the_negative_divergence(model, grids):
    target = saliency.full_input_log_probs(model, grids[2:3, 1, 1], WORDS)  # this region was all there was
    assert target.shape == (4, 11)
    np.testing.assert_allclose(np.exp(target).sum(axis=-1), 1, atol=1e-5)
    maps = saliency.raw_maps(model, grids, WORDS, target)
    assert maps.max() <= 1e-6
    np.testing.assert_allclose(maps[2, :, 1, 1], 0, atol=1e-6)
    assert (maps < -1e-3).any(axis=1).sum() == 23  # every other region differs
    log_q = model.log_probs(grids[0, 0, 2][None, None], np.array([WORDS], np.int32)).numpy()[0]  # [T, V]
    divergence = (np.exp(target) * (target - log_q)).sum(axis=-1)
    np.testing.assert_allclose(maps[0, :, 0, 2], -divergence, atol=1e-5)


def test_full_input_is_read_as_one_sequence(model, grids):
    sequence = grids[:, 0, 0]  # [N, D]
    expected = model.log_probs(sequence[None], np.array([WORDS], np.int32))[0]
    np.testing.assert_allclose(saliency.full_input_log_probs(model, sequence, WORDS), expected, atol=1e-6)
    backwards = saliency.full_input_log_probs(model, sequence[::-1], WORDS)
    assert np.abs(backwards - expected).max() > 1e-3


# From raw maps to pictures


def test_normalizers_by_hand():
    maps = np.array([[[[0.0, 2.0]], [[4.0, 4.0]]], [[[4.0, 2.0]], [[8.0, 6.0]]]])  # [F=2, T=2, 1, 2]
    linear = [[[[0, 0.5]], [[0, 0]]], [[[1, 0.5]], [[1, 0.5]]]]
    np.testing.assert_allclose(saliency.normalize_linear(maps), linear)
    # The words' means are 0.5 and 0.375.
    outstanding = [[[[0, 0]], [[0, 0]]], [[[0.5, 0]], [[0.625, 0.125]]]]
    np.testing.assert_allclose(saliency.subtract_word_mean(maps), outstanding)
    # The first frame has no range; the second's is 0 to 0.625.
    of_frames = [[[[0, 0]], [[0, 0]]], [[[0.8, 0]], [[1, 0.2]]]]
    np.testing.assert_allclose(saliency.normalize_frames(maps), of_frames)


def test_released_smoothing_stays_within_a_word(maps):
    maps[:, 1] = maps[:, 1].mean()  # a word without range: zeros, whatever the others are
    released = saliency.normalize_released(maps)
    assert not released[:, 1].any()
    assert released[:, [0, 2]].min() > 0


def test_normalizers_survive_what_has_no_range(maps):
    maps[2] = maps.min(axis=(0, 2, 3))[:, None, None]  # a frame in which nothing stands out
    maps[:, 0] = -4.0  # and a word that every region says alike
    for normalizer in saliency.NORMALIZERS.values():
        normalized = normalizer(maps)
        assert np.isfinite(normalized).all()
        assert normalized.min() >= 0 and 0 < normalized.max() <= 1
        assert not normalized[:, 0].any()
    assert not saliency.normalize_frames(maps)[2].any()
    others = [0, 1, 3, 4, 5]
    np.testing.assert_array_equal(saliency.normalize_frames(maps)[others].max(axis=(1, 2, 3)), 1)


@pytest.mark.parametrize(
    "function",
    [
        saliency.normalize_linear,
        saliency.subtract_word_mean,
        saliency.normalize_frames,
        saliency.normalize_released,
        saliency.smooth_descriptors,
    ],
)
def test_argument_stays_as_it_was(maps, function):
    before = maps.copy()
    result = function(maps)
    np.testing.assert_array_equal(maps, before)
    assert result.shape == maps.shape and result.dtype == np.float32 and not np.shares_memory(result, maps)


def test_smoothing_by_hand():
    frames = np.array([[3.0, 0.0], [6.0, 3.0], [0.0, 6.0], [9.0, 0.0]], np.float32)
    # Reflected: the first and the last frame have themselves as the missing neighbour.
    np.testing.assert_allclose(saliency.smooth_descriptors(frames), [[4, 1], [3, 3], [5, 3], [6, 2]], atol=1e-6)


def test_stream_is_smoothed_like_the_whole():
    frames = np.random.default_rng(3).normal(0, 1, (7, 2, 2, 3)).astype(np.float32)
    for n_frames in range(1, 8):
        clip = frames[:n_frames]
        expected = saliency.smooth_descriptors(clip)
        for cuts in range(2 ** (n_frames - 1)):  # every way to cut the clip into batches
            at = [k + 1 for k in range(n_frames - 1) if cuts >> k & 1]
            smoothed = list(saliency.smooth_stream(iter(np.split(clip, at))))
            np.testing.assert_allclose(np.concatenate(smoothed), expected, atol=1e-6)


def test_stream_runs_one_frame_behind():
    given = []

    def batches():
        for k in range(4):
            given.append(k)
            yield np.full((2, 1), k, np.float32)

    smoothed = saliency.smooth_stream(batches())
    assert len(next(smoothed)) == 1 and given == [0]
    assert len(next(smoothed)) == 2 and given == [0, 1]


def test_stream_without_frames_is_empty():
    assert list(saliency.smooth_stream([])) == []
