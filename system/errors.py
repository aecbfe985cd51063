"""The one error that a user is meant to see, and how a script ends with it."""

import gc
import os
import re
import sys

from system import console

MOST_OF_A_WORD, MOST_OF_A_LINE = 300, 1500  # letters: long enough for a path, and for a path with what is said of it


class UserError(Exception):
    """Bad input: one line that names what is wrong, where, and the way out; no text in it can make it long."""

    def __init__(self, message):
        super().__init__(_line(message))


def _line(message):
    """A message as one line of bounded length, its long words shortened."""
    line = re.sub(r"\s*[\r\n\t]+\s*", " ", str(message)).strip()
    line = re.sub(r"\S+", lambda word: console.shown(word[0], MOST_OF_A_WORD), line)
    return console.shown(line, MOST_OF_A_LINE)


def as_user_error(error):
    """An error as one that a user is meant to see, None where it is a mistake of the program.

    That is: a UserError, what the system refuses, and that memory does not suffice, as NumPy or TensorFlow tell it.
    """
    if isinstance(error, UserError | OSError):
        return error
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return UserError(
            "memory does not suffice: make the work smaller (--set batch_size=... or saliency_input_size=..., fewer or "
            "shorter sentences), or give it more"
        )
    return None


def outcome(function, *arguments):
    """What a function gives, or the error that a user is meant to see; a mistake of the program is raised."""
    try:
        return function(*arguments)
    except Exception as error:
        told = as_user_error(error)
        if told is None:
            raise
        return told


def report(error):
    """Tell an error on stderr, in one line."""
    print(f"{os.path.basename(sys.argv[0])}: error: {_line(error)}", file=sys.stderr)


def run(main):
    """Run a script's `main()`; a UserError becomes one line on stderr and exit status 2.

    So does what the system refuses: a full disk, a folder that may not be written. What is printed is harmless to the
    terminal (console.py).
    """
    try:
        with console.harmless_streams():
            _run(main)
    finally:
        gc.freeze()  # Python would look for garbage among all that TensorFlow has made, for half a second, and then end


def _run(main):
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output (head, less) has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        told = as_user_error(error)
        if told is None:
            raise
        report(told)
        sys.exit(2)
