"""What a new method touches: its file, its test, its page, one entry in METHODS. Everything else finds it there, or is made from it."""

import importlib.util
import re
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import datassay as da
from datassay.methods import METHODS

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src" / "datassay"
MADE = {"__init__.py"}  # by docs/declare.py
SHARED = {"forgetting": {"methods/aum.py"}}  # AUM reads what Forgetting's trainings said


def script(name):
    """A module of docs, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def another(monkeypatch):
    """METHODS with one entry more, and nothing else."""
    monkeypatch.setitem(METHODS._own, "brand-new", replace(METHODS["craig"], function="brand_new"))


@pytest.mark.parametrize(
    "name", ["craig", "aum", "forgetting", "in-run-shapley", "c-score", "beta-shapley", "tracin", "dvrl"]
)
def test_the_source_names_a_method_in_two_places(name):
    """Its file and its entry: as a text, or by importing its module."""
    function = METHODS[name].function
    says = re.compile(rf"[\"']{name}[\"']|\bmethods\.{function}\b|\bmethods import .*\b{function}\b")
    found = {str(p.relative_to(SRC)) for p in SRC.rglob("*.py") if says.search(p.read_text(encoding="utf-8"))}
    assert found - MADE - SHARED.get(name, set()) == {f"methods/{function}.py", "methods/__init__.py"}
    entries = (SRC / "methods/__init__.py").read_text(encoding="utf-8")
    assert entries.count(f'"{name}": Method(') == 1


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_page_and_a_test(name):
    assert (ROOT / "docs/methods" / f"{name}.md").is_file()
    says = re.compile(rf"[\"']{name}[\"']|\b{METHODS[name].function}\b")
    assert any(says.search(p.read_text(encoding="utf-8")) for p in (ROOT / "tests").glob("test_*.py"))


@pytest.mark.parametrize("file", ["src/datassay/__init__.py", "README.md"])
def test_what_is_made_from_the_table_is_up_to_date(file):
    text = (ROOT / file).read_text(encoding="utf-8")
    assert script("declare").declared(text, METHODS) == text, "run: python docs/declare.py"


def test_an_entry_is_all_that_editors_and_the_readme_need(another):
    declared = script("declare").declared
    types = declared((SRC / "__init__.py").read_text(encoding="utf-8"), METHODS).splitlines()
    assert "    from datassay.methods.brand_new import brand_new as brand_new" in types
    assert f"{len(METHODS)} methods, called" in declared((ROOT / "README.md").read_text(encoding="utf-8"), METHODS)


def test_an_entry_is_all_that_the_pages_need(another):
    pytest.importorskip("sphinx")
    generate = script("generate")
    pages = list(generate.methods_pages())
    assert pages[0] == "```{toctree}"
    assert pages[3:-1] == list(METHODS)
    assert ".. autofunction:: datassay.methods.brand_new.brand_new" in list(generate.methods_functions())
    assert any("[`brand-new`]" in line for line in generate.methods_table())
    for page in ("docs/methods/index.md", "docs/api.md"):
        assert "craig" not in (ROOT / page).read_text(encoding="utf-8"), f"{page} names a method by hand"


def test_an_entry_is_all_that_python_and_the_command_line_need(another):
    from datassay.cli import app

    assert "brand_new" in dir(da)
    printed = CliRunner().invoke(app, ["methods"]).output
    assert re.search(r"│ brand-new +│", printed)
