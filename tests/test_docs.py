"""README and docs/ say what is there: settings, flags, files, links, numbers."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cfg

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [
    path
    for path in (*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), ROOT / "experiments/pretrained/photographs/MODEL_CARD.md")
    if not path.is_relative_to(ROOT / "DATA") or path.name == "README.md"
]
SCRIPTS = ("preprocessing.py", "run_s2vt.py", "visualization.py", "explore.py", "evaluate_saliency.py", "demo.py")
BENCHMARKS = ("bench.py", "whole.py", "precision.py", "alternatives.py", "scale.py", "largest.py", "gpu.py")


def sections(page, level="##"):
    """The parts of a page by their headings of that level: dict of heading -> text."""
    parts = re.split(rf"^{level} (.+)$", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_readme_is_short():
    assert len(README.splitlines()) <= 200
    assert len(README.split()) <= 1800


def test_every_setting_is_documented_in_a_row_of_its_own():
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/settings.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(cfg.SETTINGS)


def test_settings_are_grouped_as_in_the_code():
    parts = sections("docs/settings.md")
    for group in (cfg.Data, cfg.Descriptors, cfg.Captioner, cfg.Captions, cfg.Training):
        rows = re.findall(r"^\| `(\w+)` \|", parts[group.__name__], re.MULTILINE)
        assert rows == list(group.__annotations__), group


def test_defaults_of_settings_are_documented():
    """Every value that a setting has for some data set stands in the second column of its row."""
    cells = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", (ROOT / "docs/settings.md").read_text(), re.MULTILINE))
    for name in set(cfg.SETTINGS) - {"dataset", "experiment"}:
        numbers = {float(number) for number in re.findall(r"(?<![\w.])\d[\d.]*(?:e-?\d+)?(?![\w])", cells[name])}
        for dataset, config in cfg.DATASETS.items():
            value = getattr(config, name)
            found = value in numbers if isinstance(value, (int, float)) else str(value) in cells[name]
            assert found, f"{name} of {dataset} is {value}, documented: {cells[name]}"


def flags_of(module, monkeypatch):
    """Every flag of a script, as its own parser lists them."""
    import argparse

    found = []

    class Done(Exception):
        pass

    def note(parser, *_):
        found.extend(flag for action in parser._actions for flag in action.option_strings if flag.startswith("--"))
        raise Done

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", note)
    monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", note)
    with pytest.raises(Done):
        importlib.import_module(module).main()
    return found


@pytest.mark.parametrize(
    "heading, module",
    [
        *((f"`{script}`", script.removesuffix(".py")) for script in SCRIPTS),
        ("`python -m datasets.demo.clips`", "datasets.demo.clips"),
        *((f"`benchmarks/{script}`", f"benchmarks.{script.removesuffix('.py')}") for script in BENCHMARKS),
    ],
)
def test_every_flag_is_documented_and_no_other(heading, module, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    flags = flags_of(module, monkeypatch)
    assert "--help" in flags
    documented = re.findall(r"^\| `(--\w[\w-]*)` \|", sections("docs/commands.md")[heading], re.MULTILINE)
    assert sorted(documented) == sorted(flags)


def test_every_target_of_make_is_documented():
    listed = subprocess.run(["make", "-C", ROOT, "--no-print-directory"], capture_output=True, text=True, check=True)
    targets = re.findall(r"^make ([\w-]+) +\w", listed.stdout, re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
    assert sorted(targets) == sorted(phony)
    documented = re.findall(r"^\| `make ([\w-]+)` \|", sections("docs/commands.md")["`make`"], re.MULTILINE)
    assert sorted([*documented, "help"]) == sorted(targets)


def files_of_the_tree():
    """The paths in README's tree, and those of the wings' files that it names."""
    tree = re.search(r"## What lies where\n\n(.*?)\n\nArrows", README, re.DOTALL)[1]
    folder = ""
    for line in filter(str.strip, tree.splitlines()):
        name, rest = re.match(r" {4}( *\S+)(.*)", line).groups()
        if not name.startswith(" "):
            folder = name if name.endswith("/") else ""
            yield name
            continue
        yield folder + name.strip()
        if name.endswith("/"):
            yield from (folder + name.strip() + other for other in re.findall(r"\w+\.py", rest))


def test_the_tree_of_readme_is_that_of_the_project():
    tree = set(files_of_the_tree())
    assert [path for path in tree if not (ROOT / path).exists()] == []
    wings = ("vision", "datasets", "captioner", "explain", "evaluation", "system")
    there = {
        str(path.relative_to(ROOT))
        for folder in (ROOT, *(ROOT / wing for wing in wings), ROOT / "datasets/demo")
        for path in folder.glob("*.py")
        if path.name != "__init__.py"
    }
    assert there - tree == set()


def anchors(path):
    """The anchors of a page, as GitHub makes them of its headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        assert path.exists(), f"{page}: {target}"
        assert not anchor or anchor in anchors(path), f"{page}: {target}"


def test_headline_results_are_those_of_the_tables():
    """README's numbers stand in docs/results.md too, in the section that their row links to."""
    rows = re.findall(r"^\| \[[^]]*\]\((docs/results\.md)#([\w-]+)\)[^|]*\|(.*)\|[^|]*\|$", README, re.MULTILINE)
    assert len(rows) == 6
    parts = {**sections("docs/results.md"), **sections("docs/results.md", "###")}
    for _, anchor, cells in rows:
        section = next(text for name, text in parts.items() if name.lower().replace(" ", "-") == anchor)
        numbers = re.findall(r"[\d.]+", cells)
        assert numbers and all(f" {number} " in section.replace("*", "") for number in numbers), anchor


def test_scripts_are_named_in_the_table_of_commands():
    table = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    for script in SCRIPTS:
        help_text = subprocess.run(
            [sys.executable, ROOT / script, "--help"], capture_output=True, text=True, check=True
        )
        assert help_text.stdout.startswith(f"usage: {script}")
        assert f"| [`{script}`](#" in table
