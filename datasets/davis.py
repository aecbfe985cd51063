"""Clips as folders of frames, with a mask for each frame and a table of sentences: the layout of DAVIS.

    for clip in davis.read("DATA/DAVIS"):   # one for each sentence
        clip.path, clip.words, clip.named, clip.read_masks()

DAVIS (Perazzi et al., CVPR 2016) has frames and masks; the sentences are whoever's who asks, and so may the clips be.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_loader import tokenize
from datasets import annotations
from system import console, files
from system.errors import UserError
from vision import pictures

MOST_PIXELS = 500_000_000  # of a clip's masks, which are in memory together, a byte each
TABLE, HEADER = "sentences.tsv", ("clip", "sentence", "words on the mask")


@dataclass(frozen=True)
class MaskedClip:
    """A sentence, as words (data_loader.tokenize), of a clip: folders of its frames and of their masks.

    named: those of the words that are on the mask.
    """

    id: str
    path: Path
    masks: Path
    words: tuple
    named: tuple

    def read_masks(self):
        """Where the thing is in each frame -> bool [F, H, W]. UserError where one cannot be read, or all are empty."""
        masks, n_pixels = [], 0
        for _, mask in pictures.frames_of_folder(self.masks, to_array=pictures.above_zero):
            masks.append(mask)
            n_pixels += mask.size
            if n_pixels > MOST_PIXELS:
                raise UserError(f"{self.masks}: more than {MOST_PIXELS} pixels in all: score a part of the clip")
        if not any(mask.any() for mask in masks):
            raise UserError(f"{self.masks}: every mask is empty, so no word can lie on it")
        return np.stack(masks)


def read(folder):
    """The sentences of `sentences.tsv` -> list of MaskedClip.

    Frames are in `JPEGImages/<clip>/`, masks in `Annotations/<clip>/`; or both below `480p/` there, as DAVIS has them.
    UserError where the table is not as expected, a word is not in its sentence, or a frame is without mask.
    """
    table = Path(folder) / TABLE
    what = "'" + "<TAB>".join(HEADER) + "'"
    (_, header), *rows = [
        (number, [cell.strip() for cell in line.split("\t")])
        for number, line in enumerate(files.read_text(table, f"a table with the header {what}").split("\n"), 1)
        if line.strip()
    ] or [(1, [])]
    if tuple(header) != HEADER:
        raise UserError(f"{table}: expected the header {what}")
    return [_clip(Path(folder), row, f"{table}, line {number}") for number, row in rows]


def _clip(folder, row, where):
    """A row of the table -> MaskedClip."""
    if len(row) != len(HEADER):
        raise UserError(f"{where}: expected a clip, a sentence and its words on the mask, with tabs between them")
    clip, sentence, listed = row
    words = tuple(tokenize(sentence))
    named = tuple(dict.fromkeys(word for part in listed.split(",") for word in tokenize(part)))
    missing = [word for word in named if word not in words]
    if missing or not named:
        problem = f"'{console.shown(missing[0])}' is not a word of" if missing else "no word on the mask is named of"
        raise UserError(f"{where}: {problem} '{console.shown(sentence)}'")
    annotations.checked_id(clip, where)
    paths = []
    for part in ("JPEGImages", "Annotations"):
        both = folder / part / "480p", folder / part
        path = next((found for one in both if (found := one / clip).is_dir()), None)
        if path is None:
            raise UserError(f"{where}: there is no folder {folder / part / clip}")
        paths.append(path)
    n_frames, n_masks = (len(pictures.frame_files(path)) for path in paths)
    if n_frames != n_masks:
        raise UserError(f"{paths[0]} has {n_frames} frames, {paths[1]} {n_masks} masks")
    return MaskedClip(clip, *paths, words, named)
