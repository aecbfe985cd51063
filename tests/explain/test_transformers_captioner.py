"""Captioners of the transformers library: small ones of random weights, as their own forward passes say it."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make test-transformers")
transformers = pytest.importorskip("transformers", reason="transformers is not installed: make test-transformers")

from explain import attribution, explainer, transformers_captioner, workbench  # noqa: E402
from explain.query import UnknownWords  # noqa: E402
from system.errors import UserError  # noqa: E402
from tests import make_media, tiny_data  # noqa: E402
from tests.commands import run  # noqa: E402

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "dog", "runs", "##ning", "run", "on", "the", "beach", "."]
WORDS += ["red", "blue", "square"]
SENTENCE = "a dog running on the beach."
VISION = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}


def save_tokenizer(folder):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    tokenizer = Tokenizer(models.WordPiece({word: k for k, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    fast.save_pretrained(folder)


def shaken(model):
    """Weights that make a difference: of a new model all words are nearly as probable."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    return model.eval()


def save_blip(folder):
    text = {"vocab_size": len(WORDS), "hidden_size": 32, "encoder_hidden_size": 32, "num_hidden_layers": 2}
    text |= {"num_attention_heads": 4, "intermediate_size": 64, "projection_dim": 32}
    text |= {"bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3, "pad_token_id": 0}
    vision = {**VISION, "image_size": 64, "patch_size": 16, "projection_dim": 32}
    config = transformers.BlipConfig(text_config=text, vision_config=vision, projection_dim=32)
    shaken(transformers.BlipForConditionalGeneration(config)).save_pretrained(folder)
    transformers.BlipImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    save_tokenizer(folder)


def save_pair(folder, processor=None):
    """ViT and GPT-2, of other widths, so that there is a projection between them."""
    decoder = transformers.GPT2Config(
        vocab_size=len(WORDS), n_positions=64, n_embd=24, n_layer=2, n_head=4, bos_token_id=2, eos_token_id=3,
        is_decoder=True, add_cross_attention=True,
    )  # fmt: skip
    encoder = transformers.ViTConfig(**VISION, image_size=64, patch_size=16)
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 2, 0, 3
    shaken(transformers.VisionEncoderDecoderModel(config)).save_pretrained(folder)
    (processor or transformers.ViTImageProcessor(size={"height": 64, "width": 64})).save_pretrained(folder)
    save_tokenizer(folder)


@pytest.fixture(scope="module", params=[save_blip, save_pair], ids=["blip", "pair"])
def folder(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    request.param(folder)
    return folder


@pytest.fixture(scope="module")
def captioner(folder):
    return transformers_captioner.load(str(folder), gpu="-1")


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    return make_media.write_picture(tmp_path_factory.mktemp("media") / "dog.png", 48, 80)


@pytest.fixture(scope="module")
def scene(captioner, picture):
    image = np.asarray(Image.open(picture))
    return captioner.scene(captioner.cells(captioner.as_seen(image))[0])


def own_log_q(captioner, ids, picture):
    """log q by the model's own way from the picture to its logits."""
    model, image = captioner.model, Image.open(picture)
    values = captioner.processor(images=image, return_tensors="pt")["pixel_values"]
    forced = torch.tensor([[2, *ids[:-1]]])
    with torch.no_grad():
        if captioner.is_blip:
            logits = model(pixel_values=values, input_ids=forced).logits
        else:
            logits = model(pixel_values=values, decoder_input_ids=forced).logits
    log_p = torch.log_softmax(logits, -1)[0]
    return [float(log_p[t, word]) for t, word in enumerate(ids)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_a_gpu_gives_what_the_cpu_gives(folder, captioner, picture):
    on_gpu = transformers_captioner.load(str(folder))
    assert {parameter.device.type for parameter in on_gpu.model.parameters()} == {"cuda"}
    for sentence in ("a dog runs on the beach", None):
        expected, found = (
            explainer.Explainer(one, attribution.METHODS)(picture, sentence) for one in (captioner, on_gpu)
        )
        assert found.words == expected.words
        np.testing.assert_allclose(found.log_q, expected.log_q, atol=2e-6)
        np.testing.assert_allclose(found.gain, expected.gain, atol=2e-6)
        for one, other in zip((found, *found.also), (expected, *expected.also), strict=True):
            np.testing.assert_allclose(one.raw_maps, other.raw_maps, atol=1e-6, err_msg=one.method)


def test_words_and_their_pieces(captioner):
    query = captioner.query(SENTENCE)
    assert query.words == ["a", "dog", "running", "on", "the", "beach."]
    assert [[WORDS[query.ids[k]] for k in own] for own in query.pieces] == [
        *(["a"], ["dog"], ["run", "##ning"], ["on"], ["the"], ["beach", "."])
    ]
    values = np.arange(8.0)
    assert query.by_word(values, 0).tolist() == [0, 1, 2.5, 4, 5, 6.5]
    assert query.by_word(values, 0, total=True).tolist() == [0, 1, 5, 4, 5, 13]
    with pytest.raises(UnknownWords, match="cannot write 'xyzzy'"):
        captioner.query("a xyzzy dog")
    skipped = captioner.query("a xyzzy dog", "skip")
    assert (skipped.words, skipped.skipped) == (["a", "dog"], ["xyzzy"])
    with pytest.raises(UserError, match=r"has 61 pieces of words; at most 60"):
        captioner.query("a " * 61)


def test_log_q_is_the_models_own(captioner, picture, scene):
    query = captioner.query(SENTENCE)
    expected = own_log_q(captioner, query.ids, picture)
    assert np.ptp(expected) > 0.1
    n_cells = len(scene.cells)
    assert scene.shape == (4, 4) and n_cells == 16
    grey, whole = scene.log_q(np.stack([np.zeros(n_cells), np.ones(n_cells)]), query.ids)
    np.testing.assert_allclose(whole, expected, atol=1e-4)
    np.testing.assert_allclose(
        captioner.log_q(captioner.cells_to_caption(captioner.pictures_to_caption(picture)), query),
        query.by_word(expected, 0, total=True),
        atol=1e-4,
    )
    np.testing.assert_allclose(
        captioner.log_q(captioner.grey_cells()[None], query), query.by_word(grey, 0, total=True), atol=1e-4
    )


def test_a_region_is_a_token_alone(captioner, scene):
    query = captioner.query(SENTENCE)
    maps = attribution.METHODS["single_descriptor"](scene, query.ids)  # [8, 4, 4]
    states = torch.tensor(scene.tokens[1 + 4 * 2 + 3])[None, None]  # row 2, column 3, after the class token
    forced = torch.tensor([[2, *query.ids[:-1]]])
    with torch.no_grad():
        logits = captioner.decoder(input_ids=forced, encoder_hidden_states=states).logits
    expected = torch.log_softmax(logits, -1)[0].gather(1, torch.tensor(query.ids)[:, None])[:, 0]
    np.testing.assert_allclose(maps[:, 2, 3], expected, atol=1e-4)


def test_integrated_gradients_are_complete(captioner, scene):
    ids = captioner.query("a dog runs").ids
    maps = attribution.METHODS["integrated_gradients"](scene, ids)
    n_cells = len(scene.cells)
    grey, whole = scene.log_q(np.stack([np.zeros(n_cells), np.ones(n_cells)]), ids)
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), whole - grey, atol=0.05)


def test_gradients_are_those_of_differences(captioner, scene):
    ids, rng = captioner.query("a dog").ids, np.random.default_rng(0)
    mask, direction = rng.random((2, 1, len(scene.cells)))
    slope = scene.mask_gradients(mask, ids)[0] @ direction[0]
    step = 1e-2
    difference = np.diff(scene.log_q(np.concatenate([mask - step * direction, mask + step * direction]), ids), axis=0)
    np.testing.assert_allclose(slope, difference[0] / (2 * step), rtol=0.05, atol=1e-2)
    assert scene.cell_gradients(ids).shape == (2, *scene.cells.shape)


@pytest.mark.parametrize("method", attribution.METHODS)
def test_every_method(captioner, picture, method):
    result = explainer.Explainer(captioner, method)(picture, SENTENCE)
    side = 8 if method in attribution.MULTI_SCALE else 4  # positions are interpolated
    assert result.raw_maps.shape == (1, 6, side, side) and np.isfinite(result.raw_maps).all()
    assert np.ptp(result.maps, axis=(0, 2, 3)).min() > 0.9
    again = explainer.Explainer(captioner, method)(picture, SENTENCE)
    np.testing.assert_array_equal(result.raw_maps, again.raw_maps)


def test_a_larger_picture_gives_a_finer_grid(captioner):
    """Of the picture itself: a line of a pixel is seen twice as sharp."""
    image = np.zeros((128, 128, 3), np.uint8)
    image[:, 63:65] = 255
    usual, finer = (captioner.as_seen(image, multi_scale) for multi_scale in (False, True))
    assert (usual.shape, finer.shape) == ((1, 64, 64, 3), (1, 128, 128, 3))
    np.testing.assert_array_equal(finer[0], image)
    assert captioner.frame_size(True) == (128, 128)
    assert captioner.cells(finer, True).shape[1] == 1 + 8 * 8
    assert captioner.grey_cells(True).shape[0] == 1 + 8 * 8


def test_its_own_captions(captioner, picture):
    cells = captioner.cells_to_caption(captioner.pictures_to_caption(picture))
    captions = captioner.captions(cells)
    scores = [score for _, score in captions]
    assert len(captions) == 5 and scores == sorted(scores, reverse=True)
    result = explainer.Explainer(captioner)(picture)
    assert result.query.is_own and result.query.sentence == captions[0][0]
    assert result.raw_maps.max() <= 1e-4  # -KL
    assert result.raw_maps.shape[1] == len(captions[0][0].split())


def test_a_clip_is_explained_frame_by_frame(captioner, tmp_path):
    clip = make_media.write_video(tmp_path / "clip.mp4", make_media.noise_frames(3, 48, 64), fps=5)
    result = explainer.Explainer(captioner)(clip, "a dog runs", normalization="linear")
    assert result.raw_maps.shape == (3, 3, 4, 4) and result.curves.shape == (3, 3)
    (frame,) = captioner.cells(make_media.read(clip, [1], captioner.frame_size()))
    expected = attribution.METHODS["single_descriptor"](captioner.scene(frame), result.query.ids)
    np.testing.assert_allclose(result.raw_maps[1], expected, atol=1e-4)


def test_a_processor_that_crops(tmp_path, picture):
    processor = transformers.CLIPImageProcessor(
        size={"shortest_edge": 96}, crop_size={"height": 64, "width": 64}, do_center_crop=True
    )
    save_pair(tmp_path, processor)
    captioner = transformers_captioner.load(str(tmp_path), gpu="-1")
    image = np.zeros((48, 80, 3), np.uint8)
    image[8:40, 24:56] = 255  # what 64 of 96 pixels keep of the shorter side
    assert captioner.seen_box(48, 80) == (8, 24, 40, 56)
    seen = captioner.as_seen(image)[0]
    assert seen.shape == (64, 64, 3) and seen.min() > 100 and seen[4:-4, 4:-4].min() == 255  # but for its edge
    query = captioner.query(SENTENCE)
    found = captioner.log_q(captioner.cells_to_caption(captioner.pictures_to_caption(picture)), query)
    expected = query.by_word(own_log_q(captioner, query.ids, picture), 0, total=True)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_what_is_refused(tmp_path, folder, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=r"^the captioner nobody/nothing cannot be loaded \(") as told:
        transformers_captioner.load("nobody/nothing")
    assert "\n" not in str(told.value)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(UserError, match="is a 'bert', and not one of blip, vision-encoder-decoder"):
        transformers_captioner.load(str(tmp_path))
    for path in folder.iterdir():
        if path.name != "model.safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")  # a pickle is not read
    with pytest.raises(UserError, match="cannot be loaded"):
        transformers_captioner.load(str(tmp_path))


def test_from_the_command_line(folder, picture, tmp_path):
    asked = ("--captioner", folder, "--media", picture, "--sentence", SENTENCE, "--method", "single_descriptor", "rise")
    said = run("visualization.py", *asked, "--format", "html", "--output", "shown", cwd=tmp_path)
    assert "running" in said
    with np.load(tmp_path / "shown/dog-a_dog_running_on_the_beach.npz") as arrays:
        assert arrays["words"].tolist() == SENTENCE.split()
        assert json.loads(str(arrays["config"]))["captioner"] == str(folder)
    refused = run("visualization.py", *asked, "--experiment", "mine", cwd=tmp_path, status=2)
    assert "--captioner" in refused and "--experiment" in refused


def test_it_is_scored(folder, tmp_path):
    tiny_data.write_coco(tmp_path / "DATA/COCO")
    asked = ("--captioner", folder, "--dataset", "COCO", "--methods", "single_descriptor", "rise", "--faithfulness")
    printed = run("evaluate_saliency.py", *asked, cwd=tmp_path)
    assert "\nrise " in printed
    found = json.loads((tmp_path / "saliency" / folder.name / "saliency_scores-COCO.json").read_text())
    assert found["captioner"] == str(folder) and found["scores"]["square"]["n"] == 2
    refused = run("evaluate_saliency.py", *asked[:4], "--methods", "untrained", cwd=tmp_path, status=2)
    assert "a --captioner cannot be had untrained: leave out untrained\n" in refused


def test_the_live_page_asks_it(captioner, picture, tmp_path):
    bench = workbench.Workbench(explainer.Explainer(captioner), tmp_path)
    path = bench.new_path("dog.png")
    path.write_bytes(picture.read_bytes())
    found = bench.lay(path, "dog.png", lambda *_: None)
    assert len(found["captions"]) == 5
    grey = captioner.log_q(captioner.grey_cells()[None], captioner.query("a dog"))
    answer = bench.cover(found["id"], "a dog", "error", None, (0, 0, 1, 1))
    np.testing.assert_allclose(answer["log_q"][1], grey, atol=1e-3)


def test_why_this_word_and_not_that(captioner, picture, scene):
    """Words of several pieces against one of one, after the same words before."""
    query = captioner.query("a dog running on", instead="running=runs")
    assert (query.labels, query.places) == (["running, not runs"], [2])
    result = explainer.Explainer(captioner, ["single_descriptor", "leave_one_out"])(
        picture, "a dog running on", instead="running=runs"
    )
    own, other = (own_log_q(captioner, captioner.query(text).ids, picture) for text in ("a dog running", "a dog runs"))
    np.testing.assert_allclose(result.log_q, [sum(own[2:]) - other[2]], atol=1e-3)
    for view in (result, *result.also):
        method = attribution.METHODS[view.method]
        own, other = (method(scene, captioner.query(text).ids) for text in ("a dog running", "a dog runs"))
        np.testing.assert_allclose(view.raw_maps[0, 0], own[2] + own[3] - other[2], atol=1e-3)
    each = captioner.query("a dog runs", instead="red")
    assert each.labels == ["a, not red", "dog, not red", "runs, not red"]
    with pytest.raises(UserError, match="cannot write 'xyzzy'"):
        captioner.query("a dog", instead="xyzzy")
    with pytest.raises(UserError, match="'a cat' is not one word"):
        captioner.query("a dog", instead="dog=a cat")


def test_a_caption_without_a_word_that_it_knows_is_not_an_error(captioner):
    phrases = [SimpleNamespace(places=(0, 1))]
    query, steps = captioner.phrase_steps(("a", "running"), phrases)
    assert steps == [[0, 1, 2]] and len(query.ids) == 3
    for words in (("xyzzy", "plugh"), (), ("a",) * 61):
        query, steps = captioner.phrase_steps(words, phrases)
        assert (query.ids, steps) == ([], [[]])
