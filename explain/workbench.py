"""Media laid before a captioner, and what one asks about them: its captions, maps of a sentence, what covering changes.

Arrays and files become what the live page (page.js, live.js) shows; how it asks is for explore.py.
"""

import collections
import contextlib
import dataclasses
import re
import secrets
from pathlib import Path

from PIL import Image

from explain import page
from explain.captioner import GREY
from system.errors import UserError
from vision import geometry, media

MOST_MEDIA = 8  # on the bench; the one that was laid there first makes room
FRAMES_AT_ONCE = 8  # through the CNN, so that a job ends soon after it is stopped


@dataclasses.dataclass(frozen=True)
class Laid:
    """A medium on the bench."""

    id: str
    name: str  # as its owner calls it
    sight: object  # explainer.Sight
    captions: list  # of the last beam, (sentence, score), best first
    shown: Path  # a file that browsers show


@contextlib.contextmanager
def _called(path, name):
    """Context manager: an error speaks of a stored file by the name that its owner gave it."""
    try:
        yield
    except UserError as error:
        error.args = (str(error).replace(str(path), name),)
        raise
    except OSError as error:
        raise UserError(f"{name}: {error.strerror}") from error


class Workbench:
    """Media before `explain` (explainer.Explainer); their files stay in `folder` for as long as they lie here."""

    def __init__(self, explain, folder):
        self.explainer, self.captioner, self.folder = explain, explain.captioner, Path(folder)
        explain.frames_at_once = FRAMES_AT_ONCE
        self.media = collections.OrderedDict()  # id -> Laid

    def warm_up(self):
        """Explain a grey picture, so that nothing has to be compiled when the first one comes."""
        path = self.new_path("grey.png")
        Image.new("RGB", (64, 64), (GREY,) * 3).save(path)
        medium = self.lay(path, "grey.png", lambda *_: None)
        for instead in (None, "dog=cat"):
            with contextlib.suppress(UserError):  # a captioner that does not know them
                self.explain(medium["id"], "a dog", "error", instead, lambda *_: None)
        self._remove_oldest()

    def _remove_oldest(self):
        _, oldest = self.media.popitem(last=False)
        for path in (oldest.sight.path, oldest.shown):
            path.unlink(missing_ok=True)

    def new_path(self, name):
        """Where to store a file of that name: of the name only the ending is believed, where it looks like one."""
        ending = re.search(r"\.\w{1,5}$", name, re.ASCII)
        return self.folder / f"{secrets.token_hex(8)}{ending[0].lower() if ending else ''}"

    def lay(self, path, name, progress):
        """Lay a stored file on the bench -> what the page says of it, JSON. UserError where it cannot be read.

        progress: called with the number of frames done and that of all; what it raises ends the work.
        """
        with _called(path, name):
            progress(0, 1)
            if media.kind(path) == "video" and (n_frames := media.probe(path).n_frames) > page.MOST_FRAMES:
                raise UserError(
                    f"{name} has {n_frames} frames, more than {page.MOST_FRAMES}: give it to visualization.py"
                )
            sight = self.explainer.see(path)
            captions = self.captioner.captions(sight.cells)
            shown = path.with_name(f"{path.stem}.shown")
            shown.write_bytes(page.encoded(sight, progress))
        laid = Laid(path.stem, name, sight, captions, shown)
        self.media[laid.id] = laid
        while len(self.media) > MOST_MEDIA:
            self._remove_oldest()
        return {
            "id": laid.id,
            "medium": name,
            "is_video": sight.is_video,
            "kind": page.kind(sight.is_video),
            "captions": [{"sentence": sentence, "score": score} for sentence, score in captions],
        }

    def laid(self, medium_id):
        """The medium of that id; UserError where it does not lie here."""
        if medium_id not in self.media:
            raise UserError("this picture or clip is no longer on the bench: choose it again")
        return self.media[medium_id]

    def _query(self, laid, sentence, unknown, instead):
        if sentence is None:
            return self.explainer.own_query(laid.sight, instead)
        return self.explainer.query(sentence, unknown, instead)

    def explain(self, medium_id, sentence, unknown, instead, progress):
        """Maps of a sentence (None: the captioner's own caption) -> what the page shows, JSON; UserError as there."""
        laid = self.laid(medium_id)
        with _called(laid.sight.path, laid.name):
            query = self._query(laid, sentence, unknown, instead)
            (explanation,) = self.explainer.explain(laid.sight, [query], progress=progress)
        return {"about": {**page.about(explanation), "medium": laid.name}, "maps": page.maps(explanation)}

    def cover(self, medium_id, sentence, unknown, instead, rectangle):
        """What changes where a part of every frame is grey (10) -> JSON: captions, words, log q before and after.

        rectangle: (top, left, bottom, right) in shares of the picture's sides.
        """
        laid, captioner = self.laid(medium_id), self.captioner
        sight = laid.sight
        query = self._query(laid, sentence, unknown, instead)
        sides = (sight.height, sight.width) * 2
        pixels = [share * side for share, side in zip(rectangle, sides, strict=True)]
        shares = geometry.shares_covered(pixels, sight.box, *captioner.grid_to_caption(sight.cells))  # [Gy, Gx]
        cells = captioner.covered(sight.cells, shares)
        return {
            "captions": [laid.captions[0][0], captioner.captions(cells)[0][0]],
            "words": query.labels,
            "log_q": [captioner.log_q(one, query).astype(float).tolist() for one in (sight.cells, cells)],
        }
