"""The report: one page that says which rows look wrong and shows why, and the same as plain JSON."""

from __future__ import annotations

import json
from pathlib import Path

from datassay.checks import DataError
from datassay.data.dataset import Dataset
from datassay.files import JSON_KEY, check_target, replacing
from datassay.reporting.html import to_html
from datassay.reporting.summary import summarize
from datassay.values import Values

__all__ = ["report", "summarize", "to_html"]


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
        What a method found, and the data set it was given.
    path
        The page to write; its folder must exist.
    top
        How many of the most suspicious rows to show.
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
    summary = summarize(values, data, top=top, evidence=evidence)
    html, content = to_html(summary), json.dumps(JSON_KEY | summary, allow_nan=False)
    with replacing(beside) as part, replacing(path) as page:
        page.write_text(html, encoding="utf-8", errors="backslashreplace")
        part.write_text(content, encoding="utf-8", errors="backslashreplace")
    return path
