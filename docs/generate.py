"""What the pages take from the code itself: the help of every command, the table of methods, the changelog, a real report.

Everything is written to docs/generated, which git ignores, each time Sphinx starts.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sphinx.util import logging
from typer.testing import CliRunner

from datassay.cli import app as command_line
from datassay.data.dataset import Dataset
from datassay.methods import METHODS

DOCS = Path(__file__).parent
OUT = DOCS / "generated"
_attributes: dict[str, list[str]] = {}


def setup(app: Any) -> dict[str, Any]:
    """Called by Sphinx before it looks at any page."""
    (OUT / "site").mkdir(parents=True, exist_ok=True)
    _write(OUT / "cli.md", "\n".join(cli_page()))
    _write(OUT / "methods.md", "\n".join([*methods_table(), "", *methods_pages()]))
    _write(OUT / "functions.rst", "\n".join(methods_functions()))
    _write(OUT / "changelog.md", changelog())
    _write(OUT / "dataset.rst", "\n".join(in_order("datassay.Dataset", Dataset)))
    run("demo", "--out", str(OUT / "site" / "demo"))
    app.connect("autodoc-process-signature", plain_signature)
    app.connect("autodoc-process-docstring", keep_attribute, priority=400)  # before napoleon
    app.connect("autodoc-process-docstring", restore_attribute, priority=600)  # after it
    app.connect("autodoc-process-docstring", plain_formulas, priority=900)
    return {"version": "1", "parallel_read_safe": True}


def plain_signature(
    app: Any, what: str, name: str, thing: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """A default that is made anew each time is shown as ..., so that Sphinx can read the signature."""
    return (signature.replace("<factory>", "...") if signature else signature), returns


def keep_attribute(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Napoleon takes what stands before a colon in an attribute's first line for its type; ours have annotations."""
    if what in ("attribute", "property"):
        _attributes[name] = list(lines)


def restore_attribute(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Undo what napoleon did."""
    if name in _attributes:
        lines[:] = _attributes.pop(name)


def plain_formulas(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are read in an editor first: their indented formulas stay as they are, and |x| is not a substitution."""
    out: list[str] = []
    literal = False
    for line in lines:
        before = next((o for o in reversed(out) if o.strip()), "")
        if line.strip() and not line.startswith(" "):
            literal = False
        elif (
            line.startswith("    ")
            and not literal
            and out
            and not out[-1].strip()
            and not before.startswith((" ", ":", ".."))
        ):
            literal = True
            out += ["::", ""]
        parts = re.split(r"(``.*?``)", line)
        out.append(line if literal else "".join(p if p.startswith("``") else p.replace("|", r"\|") for p in parts))
    lines[:] = out


def cli_page() -> Iterator[str]:
    """A section for each command with what it prints for --help."""
    yield from ("## `datassay`", "", "```text", run("--help").rstrip(), "```", "")
    for command in command_line.registered_commands:
        name = command.name or command.callback.__name__
        yield from (f"## `datassay {name}`", "", "```text", run(name, "--help").rstrip(), "```", "")


def methods_table() -> Iterator[str]:
    """A line for each entry of METHODS; the name leads to the method's page, and each must have one."""
    yield "| method | a low score says | needs | cost | the paper's sign | paper |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for name, method in METHODS.items():
        page = f"{name}.md"
        if not (DOCS / "methods" / page).is_file():
            logging.getLogger(__name__).warning("the method %s has no page docs/methods/%s", name, page)
        cells = (method.says, method.needs, method.cost, method.sign, method.paper)
        yield f"| [`{name}`](/methods/{page}) | " + " | ".join(_plain(c) for c in cells) + " |"


def methods_pages() -> Iterator[str]:
    """The pages of the methods in the navigation, in the order of METHODS."""
    yield from ("```{toctree}", ":hidden:", "", *METHODS, "```")


def methods_functions() -> Iterator[str]:
    """The reference of each method's function."""
    own = (method for method in METHODS.values() if isinstance(method.function, str))
    for method in own:
        yield from (f".. autofunction:: datassay.methods.{method.function}.{method.function}", "")


def _plain(cell: str) -> str:
    return cell.replace("|", r"\|").replace("^2", "²").replace("^3", "³")


def in_order(name: str, cls: type) -> Iterator[str]:
    """Attributes, then methods, as the source has them: autodoc goes by the last line that assigns an attribute."""
    yield from (f".. autoclass:: {name}", "")
    for attribute in cls.__annotations__:
        yield from (f"   .. autoattribute:: {attribute}", "")
    for member, thing in vars(cls).items():
        if not member.startswith("_") and member not in cls.__annotations__:
            kind = "property" if isinstance(thing, property | functools.cached_property) else "method"
            yield from (f"   .. auto{kind}:: {member}", "")


def changelog() -> str:
    """CHANGELOG.md without its title, which the page has."""
    text = (DOCS.parent / "CHANGELOG.md").read_text(encoding="utf-8")
    return re.sub(r"\A\s*# .*\n", "", text)


def run(*arguments: str) -> str:
    """What `datassay` prints for these arguments, at 90 columns."""
    result = CliRunner().invoke(
        command_line, list(arguments), prog_name="datassay", env={"COLUMNS": "90", "NO_COLOR": "1"}, catch_exceptions=False
    )
    if result.exit_code:
        raise RuntimeError(f"datassay {' '.join(arguments)} ended with status {result.exit_code}: {result.output}")
    return result.output


def _write(path: Path, text: str) -> None:
    """Leave an unchanged file alone: Sphinx rebuilds what is newer than its output."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
