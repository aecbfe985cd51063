"""What others wrote (names, ids, captions, words) as it reaches the terminal: harmless, and short in a message.

A file may be called "\\x1b]0;..." and a caption may turn the direction of writing: printed raw, such text would drive
the terminal. So whatever a script prints goes through `harmless_streams`, and a message quotes by `shown`.
"""

import contextlib
import io
import sys
import unicodedata

MOST_SHOWN = 60  # letters of a quotation
JOINERS = "\u200c\u200d"  # of letters in Persian and Hindi, and of emoji: without them words are misspelt
UNPRINTABLE = "Cc", "Cf", "Cs", "Co", "Zl", "Zp"  # Unicode's categories: controls, formats, surrogates, private letters


def printable(text, allowed="\n\t"):
    """`text` with what is not to be seen written as Python escapes it, but for what is `allowed`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        letter
        if letter in allowed or letter in JOINERS or unicodedata.category(letter) not in UNPRINTABLE
        else letter.encode("unicode_escape", "surrogatepass").decode()
        for letter in text
    )


def shown(value, most=MOST_SHOWN):
    """A value as a message quotes it: in one line, unprintable letters escaped, at most `most` letters and an ellipsis.

    The middle of a long text is left out, since names differ at the end.
    """
    text = str(value)
    if len(text) > most:
        text = f"{text[: most - most // 3]}…{text[-(most // 3) :]}"
    return printable(text, allowed="")


class _Harmless:
    """A text stream that writes what is `printable`; a letter that its encoding lacks is escaped as well."""

    def __init__(self, stream, allowed):
        self._stream, self._allowed = stream, allowed
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

    def write(self, text):
        self._stream.write(printable(text, self._allowed))
        return len(text)

    def __getattr__(self, name):
        return getattr(self._stream, name)


@contextlib.contextmanager
def harmless_streams():
    """Context manager: what is printed meanwhile, to stdout or stderr, is harmless to a terminal."""
    out = _Harmless(sys.stdout, "\n\t")
    err = _Harmless(sys.stderr, "\n\t\r")  # progress bars go back to the start of their line
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield


def tell(text):
    """Print a line on stderr, above a progress bar that may be there."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)
