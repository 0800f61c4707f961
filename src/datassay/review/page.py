"""The page of a review: one file without data in it; its own script and style are all that may run."""

from __future__ import annotations

from html import escape
from importlib.resources import files

from datassay.reporting.html import digest, isolated


def page(title: str) -> tuple[str, str]:
    """The page and its Content-Security-Policy."""
    style, script = _own("page.css"), _own("page.js")
    policy = (
        f"default-src 'none'; style-src '{digest(style)}'; script-src '{digest(script)}'; img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    html = _own("page.html")
    for name, content in (("TITLE", escape(isolated(title) or "review")), ("STYLE", style), ("SCRIPT", script)):
        html = html.replace(f"<!--{name}-->", content)
    return html, policy


def _own(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
