"""The docs say what the code does."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from onelane.intents import KINDS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_build", ROOT / "docs" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_readme_lists_every_setting() -> None:
    assert build().settings_table() in (ROOT / "README.md").read_text(), "run: python docs/build.py"


def test_the_recipes_are_the_files_that_the_tests_run() -> None:
    page = (ROOT / "docs" / "recipes.md").read_text()
    assert build().with_examples(page) == page, "run: python docs/build.py"
    tryout = ("/__init__.py", "/settings.py", "/0001_initial.py")
    files = [str(path.relative_to(ROOT)) for path in (ROOT / "examples").rglob("*.py")]
    assert sorted(build().examples_in(page)) == sorted(file for file in files if not file.endswith(tryout))


def test_readme_names_every_kind() -> None:
    text = (ROOT / "README.md").read_text()
    assert all(f"`{cls.__name__}`" in text for cls in KINDS.values())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!http|#)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_glossary_stays_short_and_has_each_word_once() -> None:
    rows = re.findall(
        r"^\| ([a-z][^|]*?) \| [A-Z0-9]", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE
    )
    words = [word for row in rows for word in row.split(", ")]
    assert len(words) == len(set(words))
    assert 40 < len(words) <= 60


def test_guarantees_name_tests_that_exist() -> None:
    named = re.findall(r"`(tests/[\w/.]+\.py)((?:::\w+)*)`", (ROOT / "docs" / "guarantees.md").read_text())
    assert len(named) > 50
    assert [path + node for path, node in named if not _is_there(ROOT / path, node.split("::")[1:])] == []


def _is_there(file: Path, names: list[str]) -> bool:
    """Is there such a test, or class and test?"""
    if not file.exists():
        return False
    inside: list[ast.stmt] = ast.parse(file.read_text("utf-8")).body
    for name in names:
        found = [
            one for one in inside if isinstance(one, (ast.ClassDef, ast.FunctionDef)) and one.name == name
        ]
        if not found:
            return False
        inside = found[0].body
    return True


def test_guarantees_say_what_is_done_about_every_error() -> None:
    assert build().errors_table() in (ROOT / "docs" / "guarantees.md").read_text(), (
        "run: python docs/build.py"
    )


def test_every_class_of_error_is_explained() -> None:
    """Whatever `status` may show stands in one of the two tables."""
    pages = [(ROOT / "docs" / name).read_text() for name in ("guarantees.md", "runbook.md")]
    explained = set(re.findall(r"`([a-z_]+)`", "\n".join(pages)))
    assert sorted(classes_in_code() - explained - NEVER_SHOWN) == []


NEVER_SHOWN = frozenset({"ok", "repair", "no_token"})
"""A success, and two that only `onelane repair` and `onelane doctor` meet, which tell them in full."""
RAISERS = frozenset({"Problem", "problem", "_lost", "GiveUp", "Reject", "Retry", "Wait"})


def classes_in_code() -> set[str]:
    """The words that the worker gives to what went wrong, found where it makes a record of it."""
    found: set[str] = set()
    files = (ROOT / "worker" / "onelane_worker").rglob("*.py")
    for node in (node for file in files for node in ast.walk(ast.parse(file.read_text()))):
        if isinstance(node, ast.Call) and _name(node.func) in RAISERS:
            words = [word.value for word in node.args if isinstance(word, ast.Constant)]
            found |= {word for word in words if isinstance(word, str) and re.fullmatch("[a-z_]+", word)}
    return found


def _name(called: ast.expr) -> str:
    return called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
