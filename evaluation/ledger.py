"""The scores of a data set's media as they come: a line each in a file, from which an interrupted evaluation goes on.

Several processes add to one file; each finds there what the others have done.
"""

import hashlib
import json
from pathlib import Path

from system.lines import Lines


class Ledger:
    """The records of scoring.score_subject in a file, by the medium's id."""

    def __init__(self, stem, asked):
        """asked: all that the scores depend on, a dict of JSON. Other questions have another file beside `stem`."""
        text = json.dumps(asked, sort_keys=True, default=str)
        self.path = Path(f"{stem}.{hashlib.sha256(text.encode()).hexdigest()[:8]}.jsonl")
        self._open()

    def _open(self):
        self._lines, self.records, self._forgotten = Lines(self.path, "the scores of media, a line each"), {}, {}
        self.refresh()

    def refresh(self):
        """Look at what has been added."""
        for line in self._lines.news():
            if isinstance(line, dict) and isinstance(line.get("record"), dict):
                self.records[line.get("id")] = line["record"]

    def has(self, media_id):
        """Whether a medium has its scores, or could not be read, by now."""
        self.refresh()
        return self.records.get(media_id, self._forgotten.get(media_id)) is not self._forgotten.get(media_id)

    def add(self, media_id, record):
        self._lines.add({"id": media_id, "record": record})

    def was_complete(self, media_ids, moment):
        """Whether these media, and no others, all had their records before a moment of time.time().

        As exactly as the clocks of this machine and of the file system agree.
        """
        self._open()  # anew: others may have begun anew
        return self.records.keys() == set(media_ids) != set() and self.path.stat().st_mtime <= moment

    def begin_anew(self):
        """Forget everything, in the file as well."""
        self.path.unlink(missing_ok=True)
        self._open()

    def forget_unread(self):
        """Take media that could not be read as if they had not been looked at."""
        self._forgotten = {name: record for name, record in self.records.items() if "unread" in record}
