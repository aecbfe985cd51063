"""The media that stage 1 could not read, and why: a line each in a file that many processes add to."""

from system.lines import Lines


class Failures:
    """The notes in a file: JSON lines of "id" and "reason", of which the last one of an id counts.

    A reason of null says that the medium could be read after all.
    """

    def __init__(self, path):
        self._lines = Lines(path, "what preprocessing.py notes")
        self.path = self._lines.path

    def note(self, media_id, reason):
        """Add a note: why a medium cannot be read, None where it can. UserError where it cannot be written."""
        self._lines.add({"id": media_id, "reason": reason})

    def news(self):
        """What was noted since the last look, by whomever: dict of id -> reason or None. UserError if unreadable."""
        return dict(filter(None, map(_note, self._lines.news())))

    def all(self):
        """Every medium that could not be read: dict of id -> reason. UserError as from `news`."""
        return {name: reason for name, reason in Failures(self.path).news().items() if reason is not None}


def _note(value):
    """(id, reason) of a line, None where it says no such thing."""
    try:
        media_id, reason = value["id"], value["reason"]
    except (TypeError, KeyError):
        return None
    return (media_id, reason) if isinstance(media_id, str) and isinstance(reason, str | None) else None
