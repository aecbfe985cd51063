"""Scores of phrases to tables: their rows, averages with intervals, and how they are printed."""

import itertools

from evaluation import localization

WELL_KNOWN = 400  # so often the last word of a phrase was seen in training
SIZES = (0.02, 0.05, 0.15, 0.4, 1)  # of what a phrase names, as a share of the picture: the upper ends of classes
MEASURES = {  # name -> title of its column, what its numbers are multiplied with, and their decimals
    "pointing": ("pointing", 100, 1),
    "pointing_15": ("15 px", 100, 1),
    "pointing_frame": ("by frame", 100, 1),
    "correctness": ("correct", 100, 1),
    "auc": ("AUC", 100, 1),
    "temporal": ("temporal", 100, 1),
    "faithfulness": ("faithful", 1, 2),
}
BASES = {"centre": "centre", "paper's": "single_descriptor"}  # "pointing - centre": a measure minus that of a base


def groups_of(results, by_word):
    """Which phrases each row of the table is about -> dict of name -> list of their numbers."""

    def of(key, value):
        return [k for k, one in enumerate(results.about) if one[key] == value]

    kinds = sorted({one["kind"] for one in results.about})
    groups = {"all": list(range(len(results.about)))}
    if by_word:
        words = sorted({(one["kind"], one["words"]) for one in results.about})
        groups |= {f"all {kind}s": of("kind", kind) for kind in kinds if len(kinds) > 1}
        return groups | {word: of("words", word) for _, word in words}
    groups[f"seen {WELL_KNOWN} times"] = [k for k, one in enumerate(results.about) if one["n_seen"] >= WELL_KNOWN]
    groups["seen less"] = [k for k, one in enumerate(results.about) if 0 < one["n_seen"] < WELL_KNOWN]
    groups["not known"] = of("n_seen", 0)
    area = [chance["pointing"] for chance in results.scores["chance"]]  # the share of the picture that the thing takes
    for low, high in itertools.pairwise((-1, *SIZES)):
        groups[f"size to {high:.0%}"] = [k for k, share in enumerate(area) if low < share <= high]
    groups |= {kind: of("kind", kind) for kind in kinds}
    return {name: numbers for name, numbers in groups.items() if numbers}


def tabulate(results, by_word):
    """Averages with intervals: dict of row -> {"n": ..., method: {measure: (mean, low, high)}}.

    Every measure is also given minus that of each of the BASES. The row "mean of kinds" has the means of their means.
    """
    scores, table = _with_differences(results.scores), {}
    kinds, pictures = ([one[key] for one in results.about] for key in ("kind", "group"))
    for name, numbers in groups_of(results, by_word).items():
        own = [pictures[k] for k in numbers]
        table[name] = {"n": len(numbers), "pictures": len(set(own))}
        for method, found in scores.items():
            table[name][method] = localization.average([found[k] for k in numbers], own)
    if not by_word and len(set(kinds)) > 1:
        table["mean of kinds"] = {"n": len(set(kinds)), "pictures": len(set(pictures))}
        table["mean of kinds"] |= {name: localization.average(found, pictures, kinds) for name, found in scores.items()}
    return table


def _with_differences(scores):
    """Scores of every phrase by every method, with what they are above those of the BASES."""
    more = {method: [dict(score) for score in found] for method, found in scores.items()}
    bases = {name: method for name, method in BASES.items() if method in scores}
    for (name, base), method in itertools.product(bases.items(), scores):
        if method != base:
            for score, low in zip(more[method], scores[base], strict=True):
                score |= {f"{measure} - {name}": score[measure] - low[measure] for measure in low if measure in score}
    return more


def _title(measure):
    name, *base = measure.partition(" - ")
    return MEASURES[name][0] + "".join(base)


def _cell(found, measure):
    """A mean with its interval, as it is printed."""
    _, scale, n = MEASURES[measure.partition(" - ")[0]]
    mean, low, high = (scale * value for value in found)
    return f"{mean:.{n}f} [{low:.{n}f}, {high:.{n}f}]"


def show_methods(row, measures, seconds):
    """Print some measures of a row, a line a method: means with intervals; and what of `seconds` a word is known."""
    titles = "".join(f"{_title(name):>24s}" for name in measures)
    print(f"{'':22s}{titles}" + f"{'ms a word':>11s}" * bool(seconds))
    for method in row:
        if method in ("n", "pictures"):
            continue
        cells = [_cell(row[method][name], name) if name in row[method] else "" for name in measures]
        cost = f"{1000 * seconds[method]:11.1f}" if method in seconds else ""
        print(f"{method:22s}" + "".join(f"{cell:>24s}" for cell in cells) + cost)


def show_rows(table, measure):
    """Print one measure of every row and method."""
    methods = [method for method in table["all"] if method not in ("n", "pictures")]
    print(f"{'':16s}{'n':>6s}" + "".join(f"{method:>22s}" for method in methods))
    for name, row in table.items():
        cells = [_cell(row[method][measure], measure) if measure in row[method] else "" for method in methods]
        print(f"{name:16s}{row['n']:6d}" + "".join(f"{cell:>22s}" for cell in cells))


def show(about, table):
    """Print the tables: `table` as from `tabulate`; about: what is stored beside it in the JSON file."""
    everything, hidden = table["all"], about["cut_off"]
    there = {name for method in everything if method not in ("n", "pictures") for name in everything[method]}
    count = f"{everything['n']} {about['protocol'].replace('_', ' ')} of {everything['pictures']} pictures"
    print(f"{count}, --phrase {about['phrase']}; in %, faithfulness in nats")
    show_methods(everything, [name for name in MEASURES if name in there], about["seconds"])
    above = [f"{measure} - {base}" for base in BASES for measure in MEASURES if measure.startswith("pointing")]
    print("\nthe pointing game, minus that of the frame's centre and of the paper's maps")
    show_methods(everything, [name for name in above if name in there], {})
    for name, cost in about["cnn_seconds"].items():
        print(f"the CNN, {name}: {1000 * cost:.0f} ms a picture")
    if hidden["cut"]:
        share = f"{hidden['share']:.0%} of all of them is out of sight"
        print(f"the crop cuts {hidden['cut']} regions, {hidden['wholly']} of them wholly: {share}")
    for measure in ("pointing", "pointing_15", "pointing_frame"):
        if measure in everything["chance"]:
            print(f"\n{MEASURES[measure][0]}, in %")
            show_rows(table, measure)


def cut_off(results):
    """What the geometry of the captioner hides of the regions: how many it cuts, how many wholly, their mean share."""
    shares = [one["cut_off"] for one in results.about if one["cut_off"] == one["cut_off"]]  # nan: smaller than a place
    share = sum(shares) / len(shares) if shares else 0.0
    return {"cut": sum(s > 0 for s in shares), "wholly": sum(s == 1 for s in shares), "share": share}
