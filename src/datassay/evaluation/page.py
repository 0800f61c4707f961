"""Results of a comparison as one page that needs nothing else: tables, tests and curves, no scripts or pictures from anywhere."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy import ndarray
from scipy import stats

from datassay.checks import DataError
from datassay.evaluation import statistics as st
from datassay.files import check_target, replacing
from datassay.reporting.html import count, digest, number

RESULTS = [*st.CELL, "seed", "metric", "value", "error"]
CURVES = [*st.CELL, "seed", "curve", "x", "y"]
_MAIN = (
    "auc",
    "average_precision",
    "accuracy_area",
    "found_area",
    "f1",
)  # the first that a task has is what it is judged by
_COST = ("seconds", "memory")
_SHOWN = 8  # methods whose curves are drawn before anyone asks for others; as many colours can be told apart
_POINTS = 51
_REACHED = "what the model reaches on test rows"
_CURVES = {
    "found": ("Wrong rows found", "fraction of the rows inspected, worst first", "share of the wrong rows found"),
    "remove-high": ("Removing the most valued rows", "fraction of the rows removed", _REACHED),
    "remove-low": ("Removing the least valued rows", "fraction of the rows removed", _REACHED),
    "remove-high-by-class": ("Removing the most valued rows of each class", "fraction of the rows removed", _REACHED),
    "remove-low-by-class": ("Removing the least valued rows of each class", "fraction of the rows removed", _REACHED),
    "add-high": ("The most valued rows alone", "fraction of the rows taken", _REACHED),
    "add-low": ("The least valued rows alone", "fraction of the rows taken", _REACHED),
    "window": ("Training on half of the rows", "where the half begins: 0 has the most valued rows, 0.5 the least", _REACHED),
}


def page(
    results: pd.DataFrame,
    curves: pd.DataFrame,
    path: str | Path,
    *,
    title: str,
    notes: Sequence[str] = (),
    metric: str | Mapping[str, str] | None = None,
    lower: Collection[str] = _COST,
    agreement: pd.DataFrame | None = None,
    force: bool = False,
) -> Path:
    """Write one self-contained page about a comparison of methods; written beside and renamed, never half there.

    Parameters
    ----------
    results
        A line per measurement: task, data, kind, rate, seed, method, metric, value, error. A cell that failed is one line of the metric
        "failed" with the text of its error.
    curves
        A line per point: task, data, kind, rate, seed, method, curve, x, y. May be empty.
    path
        The page to write; its folder must exist.
    title, notes
        The heading, and sentences below it.
    metric
        What the methods are ranked by, in each task that has it, or one for each task; None: auc, else average precision, else an
        area, else the first.
    lower
        Metrics of which a low value is better.
    agreement
        A line per pair of methods: task, data, kind, rate, method, other, spearman.
    force
        Replace a file that datassay did not write.

    Raises
    ------
    DataError
        If columns are missing, there are no results, no task has the metric, or the page can't be written there.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise DataError(f"the folder {str(path.parent)!r} does not exist: make it first.")
    if path.is_dir():
        raise DataError(f"{str(path)!r} is a folder: give the name of a file.")
    check_target(path, force=force, or_force=", or pass force=True")
    html = to_html(results, curves, title=title, notes=notes, metric=metric, lower=lower, agreement=agreement)
    with replacing(path) as beside:
        beside.write_text(html, encoding="utf-8", errors="backslashreplace")
    return path


def to_html(
    results: pd.DataFrame,
    curves: pd.DataFrame,
    *,
    title: str,
    notes: Sequence[str] = (),
    metric: str | Mapping[str, str] | None = None,
    lower: Collection[str] = _COST,
    agreement: pd.DataFrame | None = None,
) -> str:
    """The page as text. Every text in it is escaped, and the policy in its head lets no script run but its own."""
    st.check_columns(results, "results", RESULTS)
    st.check_columns(curves, "curves", CURVES)
    if results.empty:
        raise DataError("there are no results to show: run a task first.")
    if isinstance(metric, str) and not (results["metric"] == metric).any():
        raise DataError(f"no task has the metric {metric!r}; there are: {', '.join(sorted(set(results['metric'])))}.")
    results, curves = _named(results), _named(curves)
    sections = []
    for name in dict.fromkeys([*results["task"].unique(), *curves["task"].unique()]):
        chosen_metric = metric if isinstance(metric, str) or metric is None else metric.get(name)
        section = _judged(name, results[results["task"] == name], chosen_metric, lower)
        section["agreement"] = _agreement(agreement, name, [line["method"] for line in section["lines"]])
        sections.append(section)
    methods = _numbers(sections, curves)
    for section in sections:
        section |= _drawings(section, curves[curves["task"] == section["task"]], methods)
    failures = _failures(results)
    style = _own("bench.css") + _own_rules(methods, sections)
    script = _own("bench.js")
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "number": number,
        "count": count,
        "shown": shown,
        "time": time,
        "chance": chance,
        "words": words,
        "key": key,
    }
    environment.globals |= {"setting": setting}
    return environment.from_string(_own("bench.html")).render(
        title=title,
        notes=list(notes),
        facts=_facts(results),
        failures=failures,
        n_failed=sum(len(line["seeds"]) for line in failures),
        sections=sections,
        style=Markup(style),  # ours, not the data's: names of methods are numbers there
        script=Markup(script),
        policy=f"default-src 'none'; base-uri 'none'; style-src '{digest(style)}'; script-src '{digest(script)}'",
    )


# -- words and numbers


def shown(value: Any) -> str:
    """A mean in three decimals, a time or size in four digits; a dash where there is none.

    >>> shown(0.98765), shown(-0.5), shown(1234.5), shown(float("nan"))
    ('0.988', '−0.500', '1,234', '—')
    """
    if value is None or not math.isfinite(value):
        return "—"
    return f"{value:.3f}".replace("-", "−") if abs(value) < 10 else number(float(f"{value:.4g}"))


def time(value: float) -> str:
    """Seconds in three digits.

    >>> time(0.01234), time(1234.5), time(float("nan"))
    ('0.0123', '1,234', '—')
    """
    if not math.isfinite(value):
        return "—"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def chance(p: float) -> str:
    """A probability.

    >>> chance(0.03125), chance(0.00001), chance(1.0)
    ('0.0312', '< 0.0001', '1')
    """
    return "< 0.0001" if p < 1e-4 else f"{p:.3g}"


def words(name: str) -> str:
    """A metric as words.

    >>> words("average_precision"), words("auc")
    ('average precision', 'AUC')
    """
    return "AUC" if name == "auc" else name.replace("_", " ")


def key(value: Any) -> str:
    """What the tables sort by: all digits of a number, empty where there is none."""
    if isinstance(value, str):
        return value.lower()
    return "" if value is None or not math.isfinite(value) else f"{value:.12g}"


def setting(kind: Any, rate: Any) -> str:
    """A kind and rate as words.

    >>> setting("pair-flip", 0.2), setting("", 0.1), setting("human", float("nan")), setting("", float("nan"))
    ('pair-flip, 20 %', '10 %', 'human', 'all')
    """
    parts = [str(kind)] if kind else []
    if rate is not None and math.isfinite(rate):
        parts.append(f"{100 * rate:.3g} %")
    return ", ".join(parts) or "all"


def _named(frame: pd.DataFrame) -> pd.DataFrame:
    """Names as text and no missing ones, so that nothing is lost in groups."""
    texts = [name for name in ("task", "data", "kind", "method", "metric", "error", "curve") if name in frame]
    return frame.assign(**{name: _texts(frame[name]) for name in texts})


def _texts(column: pd.Series) -> ndarray:
    codes, values = pd.factorize(column, use_na_sentinel=False)  # few names, many rows
    return np.array(["" if pd.isna(value) else str(value) for value in values], dtype=object)[codes]


def _main(rows: pd.DataFrame, metric: str | None) -> str | None:
    """What a task is judged by; None if all of it failed."""
    there = [name for name in rows["metric"].unique() if name != "failed"]
    wanted = [name for name in (metric, *_MAIN) if name in there]
    return next(iter([*wanted, *[name for name in there if name not in _COST], *there]), None)


def _mean(rows: pd.DataFrame, metric: str) -> pd.Series:
    """Of each method: over seeds, then kinds and rates, then data sets."""
    means = st.means(rows, metric)
    return means.groupby(["data", "method"])["mean"].mean().groupby("method").mean()


def _numbers(sections: list[dict[str, Any]], curves: pd.DataFrame) -> dict[str, int]:
    """A number for each method, the same in all tasks: it gives the colour. First the best of each task, so that these differ."""
    ranked = [[line["method"] for line in section["lines"]] for section in sections]
    first = [method for methods in ranked for method in [m for m in methods if not _is_random(m)][:_SHOWN]]
    every = dict.fromkeys(
        [*first, *[method for methods in ranked for method in methods], *sorted(curves["method"].unique())]
    )
    return {method: i for i, method in enumerate(sorted(every, key=_is_random))}


def _is_random(method: str) -> bool:
    return method.split(" ")[0] == "random"


# -- what was run


def _facts(results: pd.DataFrame) -> list[tuple[str, str]]:
    cells = results[[*st.CELL, "seed"]].drop_duplicates()
    seconds = results.loc[results["metric"] == "seconds", "value"].sum()
    facts = [(name, f"{results[column].nunique():,}") for name, column in (("tasks", "task"), ("data sets", "data"))]
    facts += [("methods", f"{results['method'].nunique():,}"), ("seeds", f"{results['seed'].nunique():,}")]
    return [*facts, ("cells", f"{len(cells):,}"), ("time of all methods", _duration(seconds))]


def _duration(seconds: float) -> str:
    """A time as people say it.

    >>> _duration(3.21), _duration(90), _duration(9000)
    ('3.2 s', '1.5 min', '2.5 h')
    """
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.2g} s"


def _failed(results: pd.DataFrame) -> pd.DataFrame:
    return results[(results["metric"] == "failed") | (results["error"] != "")]


def _failures(results: pd.DataFrame) -> list[dict[str, Any]]:
    """A line for each (task, data, kind, rate, method, error text), with its seeds."""
    groups = _failed(results).groupby([*st.CELL, "error"], dropna=False, sort=False)["seed"].unique()
    return [dict(zip([*st.CELL, "error"], where, strict=True)) | {"seeds": list(seeds)} for where, seeds in groups.items()]


# -- a task


def _judged(name: str, rows: pd.DataFrame, metric: str | None, lower: Collection[str]) -> dict[str, Any]:
    """The numbers of a task: its methods from best to worst, the tests, and the means on each data set."""
    main = _main(rows, metric)
    blocks, test, why = None, None, ""
    if main is not None:
        try:
            blocks = st.blocks(rows, main)
            test = _test(blocks.matrix, main in lower)
        except DataError as error:
            why = str(error)
    names = [name for name in rows["metric"].unique() if name not in ("failed", "seconds", main)]
    lines = _summary(rows, main, names, main in lower, test["ranks"] if test else {})
    return {
        "task": name,
        "main": main,
        "low": main in lower,
        "n_data": rows["data"].nunique(),
        "blocks": blocks,
        "test": test,
        "why_no_test": why,
        "names": names,
        "lines": lines,
        "heat": [] if main is None else _heat(st.means(rows, main), [line["method"] for line in lines], main in lower),
    }


def _agreement(agreement: pd.DataFrame | None, task: str, methods: list[str]) -> list[dict[str, Any]]:
    """A line a method: the rank correlation of its scores with those of every other, mean over data sets, kinds and rates."""
    if agreement is None or (shown_rows := agreement[agreement["task"] == task]).empty:
        return []
    correlations = shown_rows.groupby(["method", "other"])["spearman"].mean()
    lines = []
    for a in methods:
        cells = [None if a == b else float(correlations.get((a, b), correlations.get((b, a), np.nan))) for b in methods]
        lines.append({"method": a, "cells": [None if c is None or math.isnan(c) else c for c in cells]})
    return lines


def _drawings(section: dict[str, Any], curves: pd.DataFrame, methods: dict[str, int]) -> dict[str, Any]:
    return {
        "scatter": _scatter(section["lines"], section["low"], methods, section["test"]),
        "curves": _panels(curves, methods),
        "legend": _legend([line["method"] for line in section["lines"]], methods, curves),
    }


def _summary(
    rows: pd.DataFrame, main: str | None, names: list[str], low: bool, ranks: dict[str, float]
) -> list[dict[str, Any]]:
    """A line a method, best first; where there is a test, those in it come before those that are not."""
    columns = {name: _mean(rows, name) for name in ([main] if main else []) + names}
    measured = rows[(rows["metric"] == main) & np.isfinite(rows["value"])].groupby("method")["data"].nunique()
    seconds = rows[rows["metric"] == "seconds"].groupby("method")["value"].median()
    failures = _failed(rows).drop_duplicates([*st.CELL, "seed"]).groupby("method").size()
    lines = [
        {
            "method": method,
            "main": columns[main].get(method, np.nan) if main else np.nan,
            "rank": ranks.get(method, np.nan),
            "others": [columns[name].get(method, np.nan) for name in names],
            "seconds": seconds.get(method, np.nan),
            "data": int(measured.get(method, 0)),
            "failures": int(failures.get(method, 0)),
        }
        for method in sorted(rows["method"].unique())
    ]
    sign = 1 if low else -1
    lines.sort(key=lambda line: [np.nan_to_num(value, nan=np.inf) for value in (line["rank"], sign * line["main"])])
    return lines


def _test(matrix: pd.DataFrame, low: bool) -> dict[str, Any]:
    friedman = st.friedman(matrix, higher_is_better=not low)
    n, k = matrix.shape
    cd = st.nemenyi_cd(k, n)
    groups = st.cliques(friedman.ranks, cd)
    pairs = st.wilcoxon_pairs(matrix)
    return {
        "n": n,
        "k": k,
        "friedman": friedman,
        "cd": cd,
        "ranks": friedman.ranks.to_dict(),
        "diagram": _diagram(friedman.ranks, cd, groups),
        "pairs": pairs.to_dict("records"),
        "least": 2 / 2**n,
        "differ": int((pairs["holm"] < 0.05).sum()),
    }


def _heat(means: pd.DataFrame, here: list[str], low: bool) -> list[dict[str, Any]]:
    """A table for each kind and rate: methods x data sets, shaded from the worst to the best of a data set."""
    return [
        {"kind": kind, "rate": rate, "data": list(dict.fromkeys(part["data"])), "lines": _heat_lines(part, here, low)}
        for (kind, rate), part in means.groupby(["kind", "rate"], dropna=False)
    ]


def _heat_lines(part: pd.DataFrame, here: list[str], low: bool) -> list[dict[str, Any]]:
    cells: dict[tuple[str, str], dict[str, Any]] = {}
    for data, rows in part.groupby("data"):
        good = rows["mean"] * (-1 if low else 1)
        span = good.max() - good.min()
        for line, value in zip(rows.to_dict("records"), good, strict=True):
            level = 0 if math.isnan(value) or not span > 0 else round(8 * (value - good.min()) / span)
            cells[line["method"], str(data)] = line | {"level": level, "best": value == good.max()}
    names = list(dict.fromkeys(part["data"]))
    return [{"method": m, "cells": [cells.get((m, d)) for d in names]} for m in here if m in set(part["method"])]


# -- drawings: numbers here, marks in the template


def _diagram(ranks: pd.Series, cd: float, groups: list[list[str]]) -> dict[str, Any]:
    """A critical-difference diagram as Demšar draws it: the better half is named on the left, the others on the right."""
    ordered = ranks.sort_values(kind="stable")
    k = len(ordered)
    left, right = _margin(ordered.index[: (k + 1) // 2]), _margin(ordered.index[(k + 1) // 2 :])
    width, axis = 1000, 46

    def at(rank: float) -> float:
        return round(left + (width - left - right) * (rank - 1) / (k - 1), 1)

    top = axis + 14 + 8 * len(groups) + 10
    names = []
    for i, (method, rank) in enumerate(ordered.items()):
        first = i < (k + 1) // 2
        names.append(
            {"method": str(method), "rank": rank, "x": at(rank), "y": top + 19 * (i if first else k - 1 - i), "first": first}
        )
    bars = [
        {"x1": at(ordered[g[0]]) - 4, "x2": at(ordered[g[-1]]) + 4, "y": axis + 14 + 8 * i, "methods": g}
        for i, g in enumerate(groups)
    ]
    return {
        "width": width,
        "height": top + 19 * ((k + 1) // 2),
        "left": left,
        "right": width - right,
        "axis": axis,
        "ticks": [(rank, at(rank)) for rank in range(1, k + 1, math.ceil(k / 25))],
        "names": names,
        "bars": bars,
        "cd": (at(1), min(at(1 + cd), width - right), 1 + cd > k),
    }


def _margin(names: Sequence[str]) -> float:
    """Room for the longest name and its rank, at most a third of the width: the template cuts what is longer."""
    return min(330, 58 + 7 * max((len(str(name)) for name in names), default=0))


def _scatter(
    lines: list[dict[str, Any]], low: bool, methods: dict[str, int], test: dict[str, Any] | None
) -> dict[str, Any] | None:
    """Median seconds (logarithmic) against the main metric. With a test, only the methods that share its data sets."""
    lines = [
        line
        for line in lines
        if math.isfinite(line["main"])
        and math.isfinite(line["seconds"])
        and (test is None or line["method"] in test["ranks"])
    ]
    if len(lines) < 2:
        return None
    seconds = np.maximum([line["seconds"] for line in lines], 1e-4)
    quality = np.array([line["main"] for line in lines])
    front = st.pareto(seconds, -quality if low else quality)
    box = {"left": 62.0, "right": 980.0, "top": 14.0, "bottom": 430.0}
    x_low, x_high = np.log10(seconds).min() - 0.15, np.log10(seconds).max() + 0.35
    pad = 0.06 * (np.ptp(quality) or 1)
    xs = _scale(np.log10(seconds), x_low, x_high, box["left"], box["right"])
    ys = _scale(quality, quality.min() - pad, quality.max() + pad, box["bottom"], box["top"])
    points = [
        line | {"x": x, "y": y, "front": bool(f), "number": methods[line["method"]]}
        for line, x, y, f in zip(lines, xs.tolist(), ys.tolist(), front, strict=True)
    ]
    joined = sorted((p["x"], p["y"]) for p in points if p["front"])
    for point, label in zip(points, _labels(xs, ys, [line["method"] for line in lines], box, joined), strict=True):
        point["label"] = label
    y_ticks = _ticks(quality.min() - pad, quality.max() + pad)
    return box | {
        "points": points,
        "front": " ".join(f"{x},{y}" for x, y in joined),
        "x_ticks": [
            (f"{t:,.6g}", _scale(np.log10(t), x_low, x_high, box["left"], box["right"])) for t in _decades(x_low, x_high)
        ],
        "y_ticks": [
            (f"{t:.6g}", _scale(np.array(t), quality.min() - pad, quality.max() + pad, box["bottom"], box["top"]))
            for t in y_ticks
        ],
    }


def _scale(values: ndarray, low: float, high: float, start: float, stop: float) -> ndarray:
    return np.round(start + (stop - start) * (values - low) / ((high - low) or 1), 1)


def _ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers between two others.

    >>> _ticks(0.0, 1.0), _ticks(0.913, 0.948, 4)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.92, 0.93, 0.94])
    """
    rough = (high - low) / most or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    return [round(i * step, 10) for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten between two, given by their logarithms; also 2 and 5 times these where there are few.

    >>> _decades(-1.2, 2.1), _decades(0.1, 0.9)
    ([0.1, 1.0, 10.0, 100.0], [2.0, 5.0])
    """
    powers = [10.0**d for d in range(math.floor(low), math.ceil(high) + 1)]
    all_three = [m * power for power in powers for m in ((1, 2, 5) if high - low < 2 else (1,))]
    return [t for t in all_three if low <= math.log10(t) <= high]


def _labels(
    xs: ndarray, ys: ndarray, names: list[str], box: dict[str, float], joined: Sequence[tuple[float, float]] = ()
) -> list[dict[str, Any]]:
    """Where each name goes: the nearest place around its point that covers least of what is there already, best methods first.

    What is there: the points, the line through those that are ``joined``, and the names that were placed before.
    """
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in zip(xs, ys, strict=True)]
    for (x1, y1), (x2, y2) in itertools.pairwise(joined):
        steps = max(2, round(math.hypot(x2 - x1, y2 - y1) / 4))
        on = np.linspace((x1, y1), (x2, y2), steps)
        taken += [(x - 2, y - 2, x + 2, y + 2) for x, y in on]
    labels = []
    for x, y, name in zip(xs, ys, names, strict=True):
        width = 6.4 * min(len(name), 34)
        tries = [
            (anchor, x + dx, y + dy)
            for shift in (0, 14, 28, 42, 60)
            for anchor, dx, dy in (
                ("start", 9 + shift / 3, 4.0),
                ("end", -9 - shift / 3, 4.0),
                ("start", 7 + shift / 3, -8.0 - shift),
                ("start", 7 + shift / 3, 16.0 + shift),
                ("end", -7 - shift / 3, -8.0 - shift),
                ("end", -7 - shift / 3, 16.0 + shift),
            )
        ]
        anchor, lx, ly = min(
            tries, key=lambda t: _covered(_rectangle(t[0], t[1], t[2], width), taken, box)
        )  # the first of equals is the nearest
        taken.append(_rectangle(anchor, lx, ly, width))
        apart = abs(ly - y) > 18 or abs(lx - x) > 16
        labels.append({"x": round(lx, 1), "y": round(ly, 1), "anchor": anchor, "line": apart})
    return labels


def _rectangle(anchor: str, x: float, y: float, width: float) -> tuple[float, float, float, float]:
    left = x if anchor == "start" else x - width
    return left, y - 11, left + width, y + 3


def _covered(own: tuple[float, ...], taken: list[tuple[float, float, float, float]], box: dict[str, float]) -> float:
    """The area that a label would cover of others, or stick out of the box."""
    a, b, c, d = own
    area = sum(max(0.0, min(c, x2) - max(a, x1)) * max(0.0, min(d, y2) - max(b, y1)) for x1, y1, x2, y2 in taken)
    out = max(0.0, box["left"] - a) + max(0.0, c - box["right"]) + max(0.0, box["top"] - b) + max(0.0, d - box["bottom"])
    return round(area + 40 * out, 3)


# -- curves


_PANEL = {"left": 66, "right": 490, "top": 10, "bottom": 262}  # whole numbers are short, and fine enough at half their size


def _panels(curves: pd.DataFrame, methods: dict[str, int]) -> list[dict[str, Any]]:
    """For each curve, kind and rate the panels of the data sets; a line and a band a method."""
    out = []
    finite = np.isfinite(curves[["x", "y"]].astype(np.float64)).all(axis=1)
    for name, of_curve in curves[finite].groupby("curve", sort=False):
        title, x_words, y_words = _CURVES.get(str(name), (words(str(name)), "x", "y"))
        settings = [
            {
                "kind": kind,
                "rate": rate,
                "panels": [_panel(str(d), part, methods, str(name)) for d, part in rows.groupby("data")],
            }
            for (kind, rate), rows in of_curve.groupby(["kind", "rate"], dropna=False)
        ]
        out.append({"curve": name, "title": title, "x": x_words, "y": y_words, "settings": settings})
    return out


def _panel(data: str, rows: pd.DataFrame, methods: dict[str, int], curve: str) -> dict[str, Any]:
    grid = np.unique(rows["x"].to_numpy(np.float64))
    if len(grid) > _POINTS:
        grid = np.linspace(grid[0], grid[-1], _POINTS)
    curves = {str(m): _mean_and_half(part, grid) for m, part in rows.groupby("method")}
    together = np.concatenate([mean[np.isfinite(mean)] for mean, _, _ in curves.values()])
    low, high = (0.0, 1.0) if curve == "found" else _padded(together.min(), together.max())

    def x_at(x: ndarray) -> ndarray:
        return _scale(x, grid[0], grid[-1], _PANEL["left"], _PANEL["right"]).round().astype(int)

    def y_at(y: ndarray) -> ndarray:
        return _scale(np.clip(y, low, high), low, high, _PANEL["bottom"], _PANEL["top"]).round().astype(int)

    lines = []
    for method in sorted(curves, key=lambda m: -methods[m]):  # the best are drawn last, on top
        mean, half, n = curves[method]
        band, line = np.flatnonzero(np.isfinite(half)), np.isfinite(mean)
        band = band[:: 2 if len(band) > _POINTS // 2 else 1]  # half the points do for a shade
        lines.append(
            {
                "method": method,
                "number": methods[method],
                "n": n,
                "line": _path(x_at(grid[line]), y_at(mean[line])),
                "band": _path(
                    np.r_[x_at(grid[band]), x_at(grid[band[::-1]])],
                    np.r_[y_at(mean[band] + half[band]), y_at((mean - half)[band[::-1]])],
                )
                if len(band) > 1
                else "",
            }
        )
    return _PANEL | {
        "data": data,
        "lines": lines,
        "x_ticks": [(f"{t:.6g}", int(x_at(np.array(t)))) for t in _ticks(grid[0], grid[-1], 5)],
        "y_ticks": [(f"{t:.6g}", int(y_at(np.array(t)))) for t in _ticks(low, high, 5)],
    }


def _padded(low: float, high: float) -> tuple[float, float]:
    pad = 0.05 * (high - low) or 0.05 * abs(high) or 0.05
    return low - pad, high + pad


def _mean_and_half(rows: pd.DataFrame, grid: ndarray) -> tuple[ndarray, ndarray, int]:
    """Mean over seeds at each point and half of its 95 % t-interval; between its points a curve is straight, outside there is none."""
    seeds, x, y = (rows[name].to_numpy() for name in ("seed", "x", "y"))
    order = np.lexsort((x, seeds))
    parts = np.split(order, np.flatnonzero(np.diff(seeds[order])) + 1)
    drawn = [np.interp(grid, x[part], y[part], left=np.nan, right=np.nan) for part in parts]
    values = np.array(drawn)
    n = np.isfinite(values).sum(axis=0)
    mean = np.where(n > 0, np.nansum(values, axis=0) / np.maximum(n, 1), np.nan)
    squares = np.nansum((values - mean) ** 2, axis=0) / np.maximum(n - 1, 1)
    half = stats.t.ppf(0.975, np.where(n > 1, n - 1, np.nan)) * np.sqrt(squares / np.maximum(n, 1))
    return mean, half, len(drawn)


def _path(xs: ndarray, ys: ndarray) -> str:
    """A line in few characters: steps from point to point, without those that stay where they are.

    >>> _path(np.array([0, 5, 5, 9]), np.array([7, 4, 4, 4]))
    'M0 7l5-3 4 0'
    """
    if not len(xs):
        return ""
    steps = [(int(dx), int(dy)) for dx, dy in zip(np.diff(xs), np.diff(ys), strict=True) if dx or dy]
    tail = "".join(f"{' ' if i and dx >= 0 else ''}{dx}{' ' if dy >= 0 else ''}{dy}" for i, (dx, dy) in enumerate(steps))
    return f"M{xs[0]} {ys[0]}" + (f"l{tail}" if tail else "h0")


def _legend(order: list[str], methods: dict[str, int], curves: pd.DataFrame) -> list[dict[str, Any]]:
    drawn = set(curves["method"].unique())
    there = [m for m in order if m in drawn] + sorted(drawn - set(order))
    ranked = [m for m in there if not _is_random(m)][:_SHOWN]
    return [
        {"method": m, "number": methods[m], "shown": m in ranked or _is_random(m), "best": m in ranked or _is_random(m)}
        for m in there
    ]


def _own_rules(methods: dict[str, int], sections: list[dict[str, Any]]) -> str:
    """Colour and dashes of each method, and that its curves are there only while its box is ticked: no script is needed for that."""
    rules = []
    for method, i in methods.items():
        colour, dash = (
            ("soft", "2 4") if _is_random(method) else (f"c{i % _SHOWN}", ["", "9 4", "2 3", "9 3 2 3"][i // _SHOWN % 4])
        )
        rules.append(f".m{i}{{--own:var(--{colour})" + (f";--dash:{dash}" if dash else "") + "}")
    for s, section in enumerate(sections):
        for i in (line["number"] for line in section["legend"]):
            rules.append(f"#s{s}:has(#s{s}m{i}:not(:checked)) .panel .m{i}{{display:none}}")
            rules.append(f"#s{s}:has(label.m{i}:hover,label.m{i}:focus-within) .panel g:not(.m{i}){{opacity:.12}}")
    return "\n".join(rules) + "\n"


def _own(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
