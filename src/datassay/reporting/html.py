"""The summary as one page that needs nothing else: no fonts, scripts or pictures from anywhere."""

from __future__ import annotations

import base64
import hashlib
import math
import re
import unicodedata
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

_MARKS = re.compile("[\u202a-\u202e\u2066-\u2069]")  # which turn what follows, or end what turns it
_POLICY = "default-src 'none'; img-src data:; base-uri 'none';"
_OPEN = 10  # suspects whose comparison is open when the page is


def to_html(summary: dict[str, Any]) -> str:
    """The page. Every text in it is escaped, and the policy in its head lets no script run but its own.

    Parameters
    ----------
    summary
        What `summarize` returned.
    """
    style, script = _own("style.css"), _own("page.js")
    return (
        _environment()
        .get_template("template.html")
        .render(
            s=summary,
            style=Markup(style),  # ours, not the data's
            script=Markup(script),
            policy=f"{_POLICY} style-src '{digest(style)}'; script-src '{digest(script)}'",
            labels=_labels(summary),
        )
    )


def answer_to_html(summary: dict[str, Any]) -> str:
    """The page of an answer, without any script.

    Parameters
    ----------
    summary
        What `summarize_answer` returned.
    """
    style = _own("style.css")
    return (
        _environment()
        .get_template("answer.html")
        .render(s=summary, style=Markup(style), policy=f"{_POLICY} style-src '{digest(style)}'")
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_own),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters |= {"number": number, "text": text, "count": count, "key": key, "share": share}
    environment.globals |= {"bars": bars, "mark": mark, "n_open": _OPEN}
    return environment


def number(value: Any) -> str:
    """A score or measurement in four digits.

    >>> number(0.123456), number(12345), number(-12345.6), number(True), number(None), number("inf")
    ('0.1235', '12,345', '−12,346', 'yes', '—', 'inf')
    """
    if value is None or isinstance(value, bool | str):
        return text(value)
    if isinstance(value, int) and abs(value) >= 10**15:
        text_of_number = f"{float(value):.4g}" if abs(value) < 10**300 else f"10^{len(str(abs(value))) - 1}"
    elif isinstance(value, int) or 1000 <= abs(value) < 1e9:
        text_of_number = f"{value:,.0f}" if isinstance(value, float) else f"{value:,}"
    else:
        text_of_number = f"{value:.4g}"
    return text_of_number.replace("-", "−") if value < 0 else text_of_number


def text(value: Any) -> str:
    """A cell, label or id as it came, without a thousands separator.

    >>> text(3.0), text(2018), text(0.1 + 0.2), text(None), text("a")
    ('3', '2018', '0.3', '—', 'a')
    """
    if value is None:
        return "—"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) and abs(value) < 1e6 else isolated(str(value))


def isolated(words: str) -> str:
    """Text that can't turn around what stands beside it: written from the right it is isolated, and marks of direction are shown.

    >>> isolated("cat"), isolated("gnp.\\u202ecat"), ascii(isolated("\\u05d0"))
    ('cat', 'gnp.[U+202E]cat', "'\\\\u2068\\\\u05d0\\\\u2069'")
    """
    shown = _MARKS.sub(lambda mark: f"[U+{ord(mark[0]):04X}]", words)
    return f"\u2068{shown}\u2069" if any(unicodedata.bidirectional(c) in ("R", "AL", "AN") for c in shown) else shown


def count(n: int, one: str, many: str | None = None) -> str:
    """A number with its noun.

    >>> count(1, "row"), count(2500, "row"), count(2, "class", "classes")
    ('1 row', '2,500 rows', '2 classes')
    """
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def share(part: float | int) -> str:
    """A share in percent.

    >>> share(0.035), share(1), share(0.00004)
    ('3.5 %', '100 %', '<0.1 %')
    """
    return "<0.1 %" if 0 < part < 0.001 else f"{100 * part:.1f}".removesuffix(".0") + " %"


def key(value: Any) -> str:
    """What the page sorts by: the number itself, or text in lower case; empty where there is none."""
    return "" if value is None or value == "nan" else str(value).lower()


def bars(histogram: dict[str, Any], height: int) -> list[dict[str, float | int]]:
    """Bars of a histogram, each one unit wide; heights by square root, or the few suspicious rows would not be seen."""
    most = max(histogram["counts"]) or 1
    return [
        {
            "x": x,
            "all": round(height * (n / most) ** 0.5, 2),
            "flagged": round(height * (f / most) ** 0.5, 2),
            "n": n,
            "n_flagged": f,
        }
        for x, (n, f) in enumerate(zip(histogram["counts"], histogram["flagged_counts"], strict=True))
        if n
    ]


def mark(edge: float, edges: list[float]) -> str:
    """A score in as many digits as the width of the histogram calls for.

    >>> mark(-1.2e-7, [-5.66, 0.0]), mark(-203.31, [-203.31, -0.12])
    ('0.00', '−203')
    """
    width = edges[-1] - edges[0]
    digits = 2 - math.floor(math.log10(width)) if 0 < width < math.inf else -1
    if not 0 <= digits <= 6 or abs(edge) >= 1e9:
        return number(edge)
    text_of_number = f"{edge:,.{digits}f}"
    return (text_of_number[1:] if float(text_of_number.replace(",", "")) == 0 and edge < 0 else text_of_number).replace(
        "-", "−"
    )


def _labels(summary: dict[str, Any]) -> dict[str, Any]:
    """The labels that the filters offer, in the order of the classes: those that occur among the suspects."""
    if summary["data"]["task"] == "regression":
        return {"given": [], "suggested": [], "pairs": set()}
    order = {text(c["label"]): i for i, c in enumerate(summary["data"]["classes"])}
    pairs = {(text(s["given_label"]), text(s["suggested_label"])) for s in summary["suspects"]}
    out: dict[str, Any] = {"pairs": pairs}
    for which in ("given", "suggested"):
        found = {text(s[f"{which}_label"]) for s in summary["suspects"] if s[f"{which}_label"] is not None}
        out[which] = sorted(found, key=lambda label: order.get(label, len(order)))
    return out


def _own(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def digest(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
