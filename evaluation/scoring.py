"""Every method's maps of every phrase whose place in the picture is known, scored by every measure.

Medium after medium (`score_subject`), whose scores then become those of the data set (`collect`).
"""

import base64
import collections
import dataclasses
import functools

import numpy as np

from evaluation import localization
from evaluation.cases import UNTRAINED
from explain import attribution
from system.errors import outcome
from vision import geometry

MEAN_MAP = "mean_map"  # of a picture, the mean of the paper's maps of all others
BASELINES = (*UNTRAINED, MEAN_MAP)


class MeanMap:
    """For each picture the mean of the maps of all other pictures; flat where there is none."""

    def __init__(self):
        self.sums = collections.defaultdict(lambda: np.zeros((localization.SIDE, localization.SIDE)))
        self.counts = collections.Counter()

    def add(self, group, shown):
        """Add a map [SIDE, SIDE] of the picture `group`."""
        self.sums[group] += shown
        self.counts[group] += 1

    def as_json(self):
        """What was added, by picture: the sums as text, and how many -> dict."""
        return {
            group: [base64.b64encode(total.astype("<f8").tobytes()).decode(), self.counts[group]]
            for group, total in self.sums.items()
        }

    def add_json(self, added):
        """Add what another one's `as_json` gave."""
        for group, (total, count) in added.items():
            numbers = np.frombuffer(base64.b64decode(total), "<f8")
            self.sums[group] += numbers.reshape(localization.SIDE, localization.SIDE)
            self.counts[group] += count

    @functools.cached_property
    def total(self):
        return sum(self.sums.values())

    def of(self, group):
        """The map for that picture -> [1, SIDE, SIDE]."""
        others = self.counts.total() - self.counts[group]
        return ((self.total - self.sums[group]) / others if others else np.zeros_like(self.sums[group]))[None]


@dataclasses.dataclass
class Results:
    """about: a dict for each phrase (its subject's id, the numbers of its case there and of itself in that, ...);
    scores: of each method, one for each phrase; seconds, cnn_seconds: as Eye has them; unread: why media could not be
    read, by id; n_subjects: of how many media they are, those not read among them.
    """

    about: list
    scores: dict
    seconds: dict
    cnn_seconds: dict
    unread: dict
    n_subjects: int


def chosen_methods(methods):
    """Those to score: with MEAN_MAP always the paper's, whose mean it is."""
    return list(dict.fromkeys([*[attribution.PAPERS] * (MEAN_MAP in methods), *methods]))


def score_subject(eye, subject, methods, reading="mean", with_faithfulness=False):
    """Score the phrases of a medium -> dict of JSON: about, scores, shown, seconds, cnn_seconds; or unread, the reason.

    Beside the methods there are "centre" and "chance". A phrase that the captioner does not know gets what chance gets,
    and that has a faithfulness of 0. shown: with MEAN_MAP the sum of the paper's maps [SIDE, SIDE] and their number.
    """
    record = outcome(_scored, subject, chosen_methods(methods), reading, with_faithfulness)
    seconds, cnn_seconds = eye.times()
    if isinstance(record, Exception):
        return {"unread": str(record)}
    return record | {"seconds": seconds, "cnn_seconds": {str(several): found for several, found in cnn_seconds.items()}}


def _scored(subject, methods, reading, with_faithfulness):
    """What `score_subject` gives, but for the times. UserError where the medium cannot be read, at whatever frame."""
    about, scores, mean_map = [], collections.defaultdict(list), MeanMap()
    for number, case in enumerate(subject.cases()):
        first = len(about)
        for k in range(len(case.asked)):
            about.append({"subject": subject.id, "case": number, "phrase": k, "group": case.group, **case.about(k)})
            for name, found in case.baselines(k).items():
                scores[name].append(found)
            if with_faithfulness:
                scores["chance"][-1]["faithfulness"] = 0.0
        mapped = []  # phrase, maps and scores that lack the faithfulness
        for method in methods:
            if method == MEAN_MAP:
                continue
            for k, maps in enumerate(case.maps(method, reading)):
                if maps is None:
                    scores[method].append(scores["chance"][first + k])
                    continue
                found = case.score(k, maps)
                if method == attribution.PAPERS:
                    found |= case.score_curve(k)
                    if MEAN_MAP in methods:
                        mean_map.add(case.group, case.shown(maps))
                mapped.append((k, maps, found))
                scores[method].append(found)
        if with_faithfulness and mapped:
            for (_, _, found), value in zip(mapped, case.faithfulness([one[:2] for one in mapped]), strict=True):
                found["faithfulness"] = value
    return {"about": about, "scores": dict(scores), "shown": mean_map.as_json()}


def collect(subjects, records, methods):
    """The scores of all subjects, from what `score_subject` gave of each: dict of id -> record -> Results.

    A subject without a record is left out. MEAN_MAP is scored here, on the mean of the others that there are.
    """
    there, cnn_seconds = [one for one in subjects if one.id in records], collections.defaultdict(list)
    results = Results([], collections.defaultdict(list), collections.defaultdict(list), {}, {}, len(there))
    for subject in there:
        record = records[subject.id]
        if "unread" in record:
            results.unread[subject.id] = record["unread"]
            continue
        results.about += record["about"]
        for into, found in ((results.scores, "scores"), (results.seconds, "seconds"), (cnn_seconds, "cnn_seconds")):
            for name, values in record[found].items():
                into[name] += values
    if MEAN_MAP in methods:
        read = [one for one in there if one.id not in results.unread]
        mean_map = MeanMap()
        for subject in read:
            mean_map.add_json(records[subject.id]["shown"])
        for case in (case for subject in read for case in subject.cases()):
            whole, mean = geometry.box_whole(case.height, case.width), mean_map.of(case.group)
            results.scores[MEAN_MAP] += [case.score(k, mean, whole) for k in range(len(case.asked))]
    results.cnn_seconds = {several == "True": found for several, found in cnn_seconds.items()}
    return results


def score(eye, subjects, methods, reading="mean", with_faithfulness=False):
    """`score_subject` of all, collected -> Results."""
    records = {one.id: score_subject(eye, one, methods, reading, with_faithfulness) for one in subjects}
    return collect(subjects, records, methods)
