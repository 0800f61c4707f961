"""The report: one page that says which rows look wrong and shows why, and the same as plain JSON."""

from __future__ import annotations

import json
from pathlib import Path

from datassay.checks import DataError
from datassay.data.dataset import Dataset
from datassay.files import JSON_KEY, check_target, replacing
from datassay.reporting.answer import summarize_answer
from datassay.reporting.html import answer_to_html, to_html
from datassay.reporting.summary import summarize
from datassay.values import Values

__all__ = ["answer_to_html", "report", "summarize", "summarize_answer", "to_html"]


def report(
    values: Values,
    data: Dataset,
    path: str | Path = "report.html",
    *,
    top: int = 100,
    evidence: int = 3,
    force: bool = False,
) -> Path:
    """Write one self-contained page, and the same content beside it as ``<stem>.json``.

    Parameters
    ----------
    values, data
        What a method found, and the data set it was given. Of values of `explain` the page shows the answer: the rows that are asked
        about, and those that speak for and against it.
    path
        The page to write; its folder must exist.
    top
        How many of the most suspicious rows to show; of an answer half as many for it, and half as many against it.
    evidence
        How many nearest rows of the given and of the suggested label to show beside each of them.
    force
        Replace files that datassay did not write.

    Raises
    ------
    DataError
        If the values were computed on other data, or the page can't be written there.
    """
    path = Path(path)
    if path.is_dir():
        raise DataError(f"{str(path)!r} is a folder: give the name of a file.")
    beside = path.with_suffix(".json")
    if not path.parent.is_dir():
        raise DataError(f"the folder {str(path.parent)!r} does not exist: make it first.")
    if path == beside:
        raise DataError(f"{str(path)!r} names the JSON file that goes beside the page: give a name that ends in .html.")
    for target in (path, beside):
        if target.is_dir():
            raise DataError(f"{str(target)!r} is a folder: give the name of a file.")
        check_target(target, force=force, or_force=", or pass force=True")
    if "answer" in values.stats:
        summary = summarize_answer(values, data, top=max(1, top // 2))
        html = answer_to_html(summary)
    else:
        summary = summarize(values, data, top=top, evidence=evidence)
        html = to_html(summary)
    content = json.dumps(JSON_KEY | summary, allow_nan=False)
    with replacing(beside) as part, replacing(path) as page:
        page.write_text(html, encoding="utf-8", errors="backslashreplace")
        part.write_text(content, encoding="utf-8", errors="backslashreplace")
    return path
