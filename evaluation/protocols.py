"""What is asked about a photograph, and where it has to be found: our protocol, and two that others report.

A protocol is a function: of the captions of a photograph (list of grounding.CaptionedImage), its pixels and what is
seen of it (cases.Seen) it makes a list of cases.Photograph.
"""

import collections
import dataclasses

import numpy as np

from datasets.grounding import CaptionedImage
from evaluation import cases, localization

LARGE = 0.05  # of the photograph


def phrases(eye, captions, image, seen):
    """Ours: every phrase of every caption, on any of its boxes or on its mask."""
    return [cases.Photograph(eye, one, image, seen) for one in captions]


def large_phrases(eye, captions, image, seen):
    """The same, of those phrases alone whose boxes together (or mask) cover at least 5 % of the photograph.

    After Akbari et al., CVPR 2019, and Arbelle et al., ICCV 2021.
    """

    def kept(one):
        return tuple(phrase for phrase in one.phrases if localization.covered(phrase.region).mean() >= LARGE)

    return phrases(eye, [dataclasses.replace(one, phrases=kept(one)) for one in captions], image, seen)


class Entities(cases.Photograph):
    """All captions over a photograph; asked for is each entity: the phrases of one chain, and the box around its boxes.

    After Shaharabany et al., NeurIPS 2022. `mentions`: of each entity its phrases, pairs of a Photograph (of a caption)
    and a number there.
    """

    def __init__(self, eye, captions, image, seen):
        super().__init__(eye, CaptionedImage(captions[0].image, (), ()), image, seen)
        self.captions, chains = phrases(eye, captions, image, seen), collections.defaultdict(list)
        for caption in self.captions:
            for k, phrase in enumerate(caption.asked):
                chains[phrase.chain].append((caption, k))
        self.mentions = list(chains.values())
        first = [caption.asked[k] for (caption, k), *_ in self.mentions]
        self.asked = [dataclasses.replace(phrase, region=phrase.region.around()) for phrase in first]

    def maps(self, method, reading):
        """Each entity's raw map: the mean of those of its mentions; None where the captioner knows none of them."""
        found = {caption: caption.maps(method, reading) for caption in self.captions}
        return [_mean(found[caption][k] for caption, k in mentions) for mentions in self.mentions]

    def about(self, k):
        """As of the mention whose last word was seen most in training."""
        best = max((caption.about(j) for caption, j in self.mentions[k]), key=lambda one: one["n_seen"])
        return best | {"cut_off": localization.share_cut_off(self.asked[k].region, self.height, self.width, self.box)}


def _mean(maps):
    known = [one for one in maps if one is not None]
    return np.mean(known, axis=0) if known else None


def entities(eye, captions, image, seen):
    """Every entity, by all captions together."""
    return [Entities(eye, captions, image, seen)]


PROTOCOLS = {protocol.__name__: protocol for protocol in (phrases, large_phrases, entities)}
