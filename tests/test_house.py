"""The house stays as it is: what stands at the door, and which way the arrows between the rooms point."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ("preprocessing", "run_s2vt", "visualization", "explore", "evaluate_saliency", "demo", "caption_saliency")
# From the top to the ground: a file imports from its own room, and from levels below.
LEVELS = (
    SCRIPTS,
    ("evaluation",),
    ("captioner", "explain"),
    ("datasets",),
    ("vision",),
    ("data_loader", "cfg"),
    ("saliency", "s2vt_model", "system"),
    ("s2vt_decoding",),
)
LEVEL = {room: number for number, rooms in enumerate(LEVELS) for room in rooms}
WINGS = ("vision", "datasets", "captioner", "explain", "evaluation", "system")
FILES = [*ROOT.glob("*.py"), *(path for wing in WINGS for path in (ROOT / wing).rglob("*.py"))]


def room_of(path):
    """A wing's name, or that of a module at the door."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path):
    """The rooms that a file imports from, wherever in it the import stands."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}, line {node.lineno}: a relative import"
            names.add(node.module)
    return {name.split(".")[0] for name in names} & set(LEVEL)


def may_import(room, other):
    """Scripts may use one another: demo.py runs them all."""
    return room == other or LEVEL[room] < LEVEL[other] or (room in SCRIPTS and other in SCRIPTS)


def test_what_may_import_what():
    assert may_import("explain", "vision") and may_import("datasets", "vision") and may_import("demo", "run_s2vt")
    assert not may_import("vision", "datasets") and not may_import("explain", "captioner")
    assert not may_import("cfg", "data_loader") and not may_import("saliency", "explain")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_point_one_way(path):
    room = room_of(path)
    against = {other for other in imported(path) if not may_import(room, other)}
    assert not against, f"{path.relative_to(ROOT)} imports {against}: it lives in the wrong room"


def test_imports_are_seen(tmp_path):
    (tmp_path / "x.py").write_text(
        "import cfg, os\ndef f():\n    from vision.cnn import load\n    from system import files\n"
    )
    assert imported(tmp_path / "x.py") == {"cfg", "vision", "system"}


def test_every_file_has_a_room():
    assert {room_of(path) for path in FILES} == set(LEVEL)
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    modules = re.search(r"py-modules = \[(.*?)\]", pyproject, re.DOTALL)[1]
    assert set(re.findall(r'"(\w+)"', modules)) == {path.stem for path in ROOT.glob("*.py")}
    packages = re.search(r"packages = \[(.*?)\]", pyproject)[1]
    assert set(re.findall(r'"([\w.]+)"', packages)) == {*WINGS, "datasets.demo"}


def test_tests_mirror_the_wings():
    for path in (ROOT / "tests").rglob("test_*.py"):
        folder = path.relative_to(ROOT / "tests").parent
        assert (ROOT / folder).is_dir(), f"{path}: there is no {folder}"
