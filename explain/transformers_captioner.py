"""Captioners of the transformers library, in PyTorch, as explain/ and evaluation/ ask them (captioner.py).

Every captioner that writes with cross-attention over the tokens of a picture can be asked what the paper asks: the
tokens are the descriptors, a single one of them is a region. A picture's cells are its encoder's tokens [N, D]: first
those that belong to no place, as the class token does (E of them), then Gy x Gx patches in the order of rows. Under a
mask the E tokens are mixed by the share of the patches that are shown, so that all and none give the picture's own and
the grey one's.
"""

import dataclasses
import functools
import math
import os

import numpy as np

from explain.captioner import GREY, Captioner
from explain.contrast import contrasted
from explain.query import Query, UnknownWords
from explain.transformers_scene import TransformersScene
from system import console
from system.errors import UserError

PICTURES_AT_ONCE = 8  # through the encoder
LOGITS_AT_ONCE = 64 * 2**20  # through the decoder, 4 bytes each
STATES_AT_ONCE = 8 * 2**20  # of what it reads: with gradients, each layer keeps twice as much
N_CAPTIONS = 5  # the beam's width
MOST_PIECES = 60  # of a sentence
FINER = 2  # how much larger a picture is looked at where methods want several sizes
FAMILIES = {
    "blip": "BlipForConditionalGeneration",
    "vision-encoder-decoder": "VisionEncoderDecoderModel",
}


def load(name, revision=None, gpu=None):
    """A captioner by its name on the hub or its folder -> TransformersCaptioner.

    Weights are read from safetensors alone, and no code from the hub is run. UserError where PyTorch or transformers
    are missing, there is no such model, or it is none of FAMILIES.
    """
    try:
        import torch
        import transformers
    except ImportError as error:
        raise UserError(f"{error.name} is missing: pip install -r requirements-transformers.txt") from None
    transformers.logging.set_verbosity_error()
    safe = {"revision": revision, "trust_remote_code": False}
    try:
        config = transformers.AutoConfig.from_pretrained(name, **safe)
        if config.model_type not in FAMILIES:
            raise UserError(
                f"{name} is a '{console.shown(config.model_type)}', and not one of {', '.join(FAMILIES)}: "
                "docs/captioners.md shows how to ask another one"
            )
        family = getattr(transformers, FAMILIES[config.model_type])
        model = family.from_pretrained(name, use_safetensors=True, revision=revision)
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, **safe)
        processor = transformers.AutoImageProcessor.from_pretrained(name, **safe)
    except (OSError, ValueError, ImportError, KeyError, RuntimeError) as error:
        raise UserError(f"the captioner {name} cannot be loaded ({_first_line(error)})") from None
    if not getattr(tokenizer, "is_fast", False):
        raise UserError(f"the captioner {name} has no fast tokenizer: which pieces are of which word is not known")
    return TransformersCaptioner(name, model.eval().to(_device(torch, gpu)), tokenizer, processor)


def _first_line(error):
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _device(torch, gpu):
    if str(gpu) == "-1" or os.environ.get("CUDA_VISIBLE_DEVICES") == "-1":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


class TransformersCaptioner(Captioner):
    """A BLIP, or a pair of an encoder of pictures and a decoder with cross-attention, as transformers knows them."""

    def __init__(self, name, model, tokenizer, processor):
        import torch

        self.torch, self.name, self.model, self.tokenizer, self.processor = torch, name, model, tokenizer, processor
        self.is_blip = model.config.model_type == "blip"
        self.decoder = model.text_decoder if self.is_blip else model.decoder
        self.start = self._special("bos_token_id" if self.is_blip else "decoder_start_token_id")
        for parameter in model.parameters():
            parameter.requires_grad_(False)

    def _special(self, name):
        """The number of a special token, from the first of the model's settings that has it."""
        model = self.model
        places = [model.config.text_config] if self.is_blip else [model.generation_config, model.config]
        if not self.is_blip:
            places.append(model.config.decoder)
        for settings in places:
            if getattr(settings, name, None) is not None:
                return getattr(settings, name)
        if name == "decoder_start_token_id":
            return self._special("bos_token_id")
        raise UserError(f"{self.name} does not say with which token a caption begins or ends ({name})")

    @property
    def config(self):
        revision = getattr(self.model.config, "_commit_hash", None)
        return {"captioner": self.name, "revision": revision, "family": self.model.config.model_type}

    # Looking

    @functools.cached_property
    def _sides(self):
        """(height, width) of what the encoder takes."""
        blank = np.full((64, 64, 3), GREY, np.uint8)
        return self._resized(blank).shape[1:3]

    def _resized(self, image, times=1):
        """A picture uint8 [h, w, 3] as the processor cuts it, `times` as large, unscaled -> uint8 [1, h, w, 3]."""
        sizes = {}
        for name in ("size", "crop_size") if times > 1 else ():
            sides = dict(getattr(self.processor, name, None) or {})
            sizes[name] = {side: times * n for side, n in sides.items() if n}
        found = self.processor(
            images=image,
            do_rescale=False,
            do_normalize=False,
            input_data_format="channels_last",
            return_tensors="np",
            **{name: sides for name, sides in sizes.items() if sides},
        )["pixel_values"]
        return np.clip(np.rint(found), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)

    def _times(self, multi_scale):
        return FINER if multi_scale and self.can_look_finer else 1

    def frame_size(self, multi_scale=False):
        height, width = (self._times(multi_scale) * side for side in self._sides)
        return width, height

    def as_seen(self, image, multi_scale=False):
        return self._resized(image, self._times(multi_scale))

    def seen_box(self, height, width):
        processor = self.processor
        if not getattr(processor, "do_center_crop", False):
            return 0.0, 0.0, float(height), float(width)
        size = dict(processor.size) if getattr(processor, "do_resize", True) else {"height": height, "width": width}
        if "shortest_edge" in size:
            scale = size["shortest_edge"] / min(height, width)
            scales = scale, scale
        else:
            scales = size["height"] / height, size["width"] / width
        crop = [
            dict(processor.crop_size)[side] / scale for side, scale in zip(("height", "width"), scales, strict=True)
        ]
        margins = [(side - kept) / 2 for side, kept in zip((height, width), crop, strict=True)]
        return margins[0], margins[1], height - margins[0], width - margins[1]

    @functools.cached_property
    def can_look_finer(self):
        """Whether the positions of a larger picture can be interpolated."""
        larger = np.full((1, *(FINER * side for side in self._sides), 3), GREY, np.uint8)
        try:
            return self._encoded(larger, finer=True).shape[1] > self._n_tokens
        except (ValueError, TypeError, RuntimeError):
            return False

    @functools.cached_property
    def _n_tokens(self):
        return self.grey_cells().shape[0]

    def cells(self, pictures, multi_scale=False):
        """The encoder's tokens [n, N, D]; multi_scale: of pictures FINER times as large, if the model allows it."""
        finer = self._times(multi_scale) > 1
        parts = range(0, len(pictures), PICTURES_AT_ONCE)
        return np.concatenate([self._encoded(pictures[k : k + PICTURES_AT_ONCE], finer) for k in parts])

    def _encoded(self, pictures, finer=False):
        values = self.processor(
            images=list(pictures),
            do_resize=False,
            do_center_crop=False,
            input_data_format="channels_last",
            return_tensors="pt",
        )["pixel_values"].to(self.model.device)
        encoder = self.model.vision_model if self.is_blip else self.model.encoder
        options = {"interpolate_pos_encoding": True} if finer else {}
        with self.torch.no_grad():
            tokens = encoder(pixel_values=values, **options).last_hidden_state  # [n, N, D]
            if hasattr(self.model, "enc_to_dec_proj"):
                tokens = self.model.enc_to_dec_proj(tokens)
        return tokens.float().cpu().numpy()

    @functools.lru_cache(maxsize=4)  # noqa: B019 (a captioner lives as long as the program)
    def grey_cells(self, multi_scale=False):
        width, height = self.frame_size(multi_scale)
        return self.cells(np.full((1, height, width, 3), GREY, np.uint8), multi_scale)[0]

    def grid(self, cells):
        """(E, Gy, Gx) of the tokens of a picture [N, D]; UserError where they lie in no such order."""
        n_tokens, (height, width) = len(cells), self._sides
        for n_apart in range(3):  # none, a class token, and another one (DeiT)
            rows = math.isqrt((n_tokens - n_apart) * height // width)
            if rows and (n_tokens - n_apart) % rows == 0 and rows * rows * width == (n_tokens - n_apart) * height:
                return n_apart, rows, (n_tokens - n_apart) // rows
        raise UserError(f"{self.name}: its encoder's {n_tokens} tokens are no grid of places")

    def grid_to_caption(self, cells):
        return self.grid(cells[0])[1:]

    def covered(self, cells, shares):
        return np.concatenate([self.scene(one).under(1 - shares.reshape(1, -1)).cpu().numpy() for one in cells])

    # Words

    def query(self, sentence, unknown="error", instead=None):
        words = sentence.split()
        encoded = self.tokenizer(sentence, add_special_tokens=False, return_offsets_mapping=True)
        ids, pieces = list(encoded["input_ids"]), [[] for _ in words]
        ends = np.cumsum([0, *map(len, words)])  # in the sentence without its spaces
        for place, (_, stop) in enumerate(encoded["offset_mapping"]):
            letters = len("".join(sentence[:stop].split()))
            pieces[min(int(np.searchsorted(ends[1:], letters)), len(words) - 1)].append(place)
        strange = [word for word, own in zip(words, pieces, strict=True) if self._is_unknown(ids, own)]
        if strange and unknown == "skip":
            kept = " ".join(word for word in words if word not in strange)
            if not kept:
                raise UserError(f"the sentence '{console.shown(sentence)}' has no word that the captioner knows")
            query = self.query(kept, "error", instead)
            return Query(sentence, query.words, query.ids, strange, against=query.against, pieces=query.pieces)
        if strange:
            told = ", ".join(f"'{console.shown(word)}'" for word in strange[:5])
            raise UnknownWords(f"the captioner cannot write {told}", {word: [] for word in strange})
        if not words:
            raise UserError("the sentence is empty")
        if len(ids) > MOST_PIECES:
            raise UserError(f"the sentence has {len(ids)} pieces of words; at most {MOST_PIECES} are taken")
        query = Query(sentence, words, ids, pieces=pieces)
        return query if instead is None else contrasted(query, instead, self._known_word)

    def _is_unknown(self, ids, own):
        return not own or self.tokenizer.unk_token_id in {ids[k] for k in own} - {self.start}

    def _known_word(self, word):
        """A word that may stand in another one's place; UserError where it is not one."""
        (found,) = self.query(word).words if len(word.split()) == 1 else [None]
        if found is None:
            raise UserError(f"'{console.shown(word)}' is not one word")
        return found

    def _differences(self, query, values_of, axis):
        """Values of each word less those of the other one after the same words before (16), by their pieces.

        values_of: from a Query to values of its `ids` along `axis`. Each piece of a word gets the difference of the two
        totals, so that their mean is that (`Query.by_word`); words that are not compared get zeros.
        """
        plain = dataclasses.replace(query, against=None)
        own = plain.by_word(values_of(plain), axis, total=True)
        found = np.zeros_like(np.moveaxis(values_of(plain), axis, 0))
        for t in query.places:
            other = self.query(" ".join([*query.words[:t], query.against[t]]))
            total = other.by_word(values_of(other), axis, total=True)
            found[query.pieces[t]] = np.take(own, t, axis) - np.take(total, t, axis)
        return np.moveaxis(found, 0, axis)

    def phrase_steps(self, words, phrases):
        try:
            query = self.query(" ".join(words), "skip")
        except UserError:  # it knows no word of it, or it is too long
            return Query(" ".join(words), [], [], pieces=[]), [[] for _ in phrases]
        known = [place for place, word in enumerate(words) if word not in query.skipped]
        steps = [
            [step for place in phrase.places if place in known for step in query.pieces[known.index(place)]]
            for phrase in phrases
        ]
        return query, steps

    def captions(self, cells):
        torch, states = self.torch, self._states(cells)
        end = self._special("sep_token_id" if self.is_blip else "eos_token_id")
        padding = self.tokenizer.pad_token_id
        padding = (end if isinstance(end, int) else end[0]) if padding is None else padding
        with torch.no_grad():
            found = self.decoder.generate(
                input_ids=torch.tensor([[self.start]], device=states.device),
                encoder_hidden_states=states,
                eos_token_id=end,
                pad_token_id=padding,
                num_beams=N_CAPTIONS,
                num_return_sequences=N_CAPTIONS,
                do_sample=False,
                max_new_tokens=MOST_PIECES // 2,
                output_scores=True,
                return_dict_in_generate=True,
                **self._seen_as_a_whole(states),
            )
        texts = self.tokenizer.batch_decode(found.sequences, skip_special_tokens=True)
        scores = found.sequences_scores.tolist()
        return [(" ".join(text.split()), score) for text, score in zip(texts, scores, strict=True)]

    def _seen_as_a_whole(self, states):
        """What BLIP's decoder has to be told besides: that all tokens [R, N, D] are there."""
        if not self.is_blip:
            return {}
        return {"encoder_attention_mask": self.torch.ones(states.shape[:2], device=states.device)}

    def _states(self, cells):
        """What is read of a medium's frames, tokens [n, N, D] -> tensor [1, n * N, D]."""
        flat = np.reshape(cells, (1, -1, cells.shape[-1]))
        return self.torch.tensor(flat, device=self.model.device)

    def own_query(self, cells, path, instead=None):
        query = super().own_query(cells, path, instead)
        if query.against is not None:
            return query
        log_p = self.log_probs(self._states(cells), query.ids)[0].cpu().numpy()
        return Query(query.sentence, query.words, query.ids, target_log_probs=log_p, pieces=query.pieces)

    # log q

    def log_probs(self, states, ids):
        """log q(v | w_<t) of every step: what is read [R, N, D], pieces [T] -> tensor [R, T, V]."""
        torch = self.torch
        forced = torch.tensor([[self.start, *ids[:-1]]], device=states.device).expand(len(states), -1)
        whole = self._seen_as_a_whole(states)
        logits = self.decoder(input_ids=forced, encoder_hidden_states=states, use_cache=False, **whole).logits
        return torch.log_softmax(logits.float(), dim=-1)

    def word_log_probs(self, states, ids):
        """log q(w_t | w_<t): [R, N, D], [T] -> tensor [R, T]."""
        wanted = self.torch.tensor(list(ids), device=states.device)[None, :, None].expand(len(states), -1, 1)
        return self.log_probs(states, ids).gather(2, wanted)[..., 0]

    def at_once(self, ids, n_numbers):
        """How many pictures, each read as so many numbers, the decoder takes at once."""
        by_logits = LOGITS_AT_ONCE // (len(ids) * self.decoder.config.vocab_size)
        return max(1, min(by_logits, STATES_AT_ONCE // n_numbers))

    def log_q(self, cells, query):
        states = self._states(cells)

        def values_of(one):
            with self.torch.no_grad():
                return self.word_log_probs(states, one.ids)[0].cpu().numpy()

        if query.against is not None:
            return query.by_word(self._differences(query, values_of, 0), axis=0)
        return query.by_word(values_of(query), axis=0, total=True)

    def maps(self, method, cells, query, multi_scale=False):
        values_of = functools.partial(super().maps, method, cells, multi_scale=multi_scale)
        return values_of(query) if query.against is None else self._differences(query, values_of, 1)

    def scene(self, cells, query=None, multi_scale=False):
        return TransformersScene(self, cells, self.grey_cells(multi_scale))

    def maps_alone(self, cells, query):
        if query.target_log_probs is None:
            return super().maps_alone(cells, query)
        scenes = [self.scene(one) for one in cells]
        return np.stack([one.as_map(one.negative_divergence(query).T) for one in scenes])

    def curve(self, cells, query):
        n_apart, scene = self.grid(cells[0])[0], self.scene(cells[0])
        pooled = cells[:, n_apart:].mean(axis=1)  # [F, D]

        def values_of(one):
            return scene.log_q_alone(pooled, one.ids)

        return values_of(query) if query.against is None else self._differences(query, values_of, 1)
