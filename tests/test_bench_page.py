"""The page of a comparison: the right numbers, nothing from outside, nothing that runs but its own, nothing half-written."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from datassay import DataError
from datassay.evaluation import page as module
from datassay.evaluation.page import page, to_html
from datassay.evaluation.statistics import means
from datassay.files import GENERATOR

EVIL = """</script><script>alert(1)</script>"><img src=x onerror="alert(2)">'{{ 7*7 }}&amp;"""
KEYS = ["task", "data", "kind", "rate", "seed", "method"]
METHODS = [
    *(
        "cg-score",
        "lossval",
        "lossval transport_power=0.0",
        "dvgs",
        "knn-shapley",
        "lava",
        "tracin",
        "el2n",
        "grand",
        "forgetting",
    ),
    *(
        "aum",
        "craig",
        "ame",
        "shapley",
        "beta-shapley",
        "banzhaf",
        "leave-one-out",
        "datamodels",
        "self-confidence",
        "data-oob",
    ),
    *("c-score", "dvrl", "in-run-shapley", "random"),
]
DATA = ["digits", "breast-cancer", "fried", "covertype", "mnist", "cifar-10", "20newsgroups", "adult"]


def results_of(data=DATA[:3], methods=METHODS[:3], rates=(0.1, 0.2), seeds=3, task="noisy-labels") -> pd.DataFrame:
    """Earlier methods are better and slower, later data sets harder."""
    rng = np.random.default_rng(0)
    lines = []
    for d, name in enumerate(data):
        for rate in rates:
            for seed in range(seeds):
                for m, method in enumerate(methods):
                    auc = 0.97 - 0.03 * d - 0.015 * m - 0.1 * rate + rng.normal(0, 0.01)
                    measured = {
                        "auc": auc,
                        "average_precision": auc**4,
                        "seconds": 10.0 ** (2 - m / 8) * rng.uniform(0.9, 1.1),
                    }
                    lines += [(task, name, "uniform", rate, seed, method, *pair, "") for pair in measured.items()]
    return pd.DataFrame(lines, columns=[*KEYS, "metric", "value", "error"])


def curves_of(results: pd.DataFrame, curves=("found",), points=21) -> pd.DataFrame:
    """For each cell of the results 1 - (1 - x)^a with noise, or falling from 1."""
    rng, x = np.random.default_rng(1), np.linspace(0, 1, points)
    cells = results[results["metric"] == "auc"]
    parts = []
    for name in curves:
        found = 1 - (1 - x) ** (1 / (1 - cells["value"].to_numpy()[:, None]))
        y = (found if name == "found" else 1 - found / 3) + rng.normal(0, 0.01, found.shape)
        part = cells[KEYS].loc[cells.index.repeat(points)]
        parts.append(part.assign(curve=name, x=np.tile(x, len(cells)), y=y.ravel()))
    return pd.concat(parts, ignore_index=True)


NO_CURVES = pd.DataFrame(columns=[*KEYS, "curve", "x", "y"])


def failed(results: pd.DataFrame, error: str, **where) -> pd.DataFrame:
    """The same, but the cells there failed: one row of the metric "failed" instead of theirs."""
    hit = np.logical_and.reduce([results[name] == value for name, value in where.items()])
    lost = results[hit].drop_duplicates(KEYS).assign(metric="failed", value=np.nan, error=error)
    return pd.concat([results[~hit], lost], ignore_index=True)


class Read(HTMLParser):
    """Tags, tables and text as a browser sees them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.tables: list[list[list[str]]] = []
        self.text, self._in, self._cell = "", "", False
        self.feed(html)
        self.close()
        self.text = re.sub(r"\s+", " ", self.text)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self._in = tag if tag in ("script", "style") else self._in
        self.text += " " if tag in ("dt", "dd") else ""
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._cell = True

    def handle_endtag(self, tag) -> None:
        self._in = "" if tag in ("script", "style") else self._in
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data) -> None:
        if not self._in:
            self.text += data
            if self._cell:
                self.tables[-1][-1][-1] += data

    def named(self, tag: str, **attrs) -> list[dict[str, str]]:
        return [own for name, own in self.tags if name == tag and all(own.get(k) == v for k, v in attrs.items())]


def html_of(results: pd.DataFrame, curves: pd.DataFrame = NO_CURVES, **options) -> str:
    return to_html(results, curves, title="A comparison", **options)


# -- what it says


def test_what_was_run() -> None:
    results = pd.concat([results_of(), results_of(data=["adult"], task="removal")])
    found = Read(to_html(results, NO_CURVES, title="What was run", notes=["Two cores.", "No GPU."]))
    assert "What was run Two cores. No GPU." in found.text
    hours = results.loc[results["metric"] == "seconds", "value"].sum() / 3600
    assert f"tasks 2 data sets 4 methods 3 seeds 3 cells 72 time of all methods {hours:.1f} h failures none" in found.text
    assert {own["id"] for own in found.named("section")} == {"s0", "s1"}


def test_the_table_of_methods() -> None:
    results = results_of()
    head, *lines = Read(html_of(results)).tables[0]
    assert head == ["method", "AUC", "mean rank", "average precision", "seconds", "data sets", "failures"]
    assert [line[0] for line in lines] == METHODS[:3]
    auc = results[results["metric"] == "auc"].groupby("method")["value"].mean()  # all cells are there: one mean is enough
    assert [line[1] for line in lines] == [f"{auc[method]:.3f}" for method in METHODS[:3]]
    assert [line[2] for line in lines] == ["1.00", "2.00", "3.00"]
    assert [line[-2:] for line in lines] == [["3", "–"]] * 3
    seconds = results[results["metric"] == "seconds"].groupby("method")["value"].median()
    assert [float(line[-3]) for line in lines] == pytest.approx(seconds[METHODS[:3]].tolist(), rel=0.02)


def test_low_can_be_good() -> None:
    results = results_of().replace({"metric": {"auc": "loss"}}).query("metric != 'average_precision'")
    high, low = (Read(html_of(results, lower=lower)) for lower in ([], ["loss"]))
    assert [line[0] for line in high.tables[0][1:]] == METHODS[:3]
    assert [line[0] for line in low.tables[0][1:]] == METHODS[:3][::-1]
    assert "Judged by loss, low = good" in low.text
    settings = means(results, "loss").groupby(["rate", "data"])["mean"]
    for lower, best in (([], settings.max()), (["loss"], settings.min())):
        assert re.findall(r"<b>([0-9.]+)</b>", html_of(results, lower=lower)) == [f"{v:.3f}" for v in best]


def test_each_task_is_judged_by_what_it_has() -> None:
    other = results_of(task="removal").query("metric == 'auc'").replace({"metric": {"auc": "odd_area"}})
    both = pd.concat([results_of(), other])
    assert re.findall(r"Judged by <b>(.*?)</b>", html_of(both)) == ["AUC", "odd area"]
    assert re.findall(r"Judged by <b>(.*?)</b>", html_of(both, metric="average_precision")) == [
        "average precision",
        "odd area",
    ]


def test_failures_are_named_and_counted() -> None:
    results = failed(results_of(), "MemoryError: 12 GB", data="fried", rate=0.1, method="lossval", seed=1)
    results = failed(results, "TimeoutError", data="digits", method="lossval")
    found = Read(html_of(results))
    assert found.tables[-1][1:] == [
        ["noisy-labels", "lossval", "fried", "uniform, 10 %", "1", "MemoryError: 12 GB"],
        ["noisy-labels", "lossval", "digits", "uniform, 10 %", "0, 1, 2", "TimeoutError"],
        ["noisy-labels", "lossval", "digits", "uniform, 20 %", "0, 1, 2", "TimeoutError"],
    ]
    assert "failures 7" in found.text
    line = next(line for line in found.tables[0] if line[0] == "lossval")
    assert line[-2:] == ["2 of 3", "7"]
    heat = next(line for line in found.tables[1] if line[0] == "lossval")
    assert heat[found.tables[1][0].index("digits")] == "failed"
    assert heat[found.tables[1][0].index("fried")].endswith("1 failed")
    assert "Left out of the ranks, since not all methods are measured there: the data set digits." in found.text


def test_a_method_without_a_rank_is_named() -> None:
    results = results_of(data=DATA[:5]).query("method != 'lossval' or data == 'digits'")
    found = Read(html_of(results))
    assert "Without a rank, since not measured on all of the ranked data sets: lossval." in found.text
    assert found.tables[0][-1][0] == "lossval"  # its mean is over the easiest data set only: it is no best
    assert found.tables[0][-1][2] == "—"
    assert next(line for line in found.tables[1] if line[0] == "lossval").count("not run") == 4
    assert "lossval" not in [g.split(":")[0] for g in re.findall(r"<title>([^<]*) seconds[^<]*</title>", html_of(results))]


def test_the_heat_table_has_means_and_intervals() -> None:
    results = results_of()
    found = Read(html_of(results)).tables[1]
    expected = means(results, "auc").query("rate == 0.1 and data == 'fried'").set_index("method")
    column = found[0].index("fried")
    for line in found[1:]:
        own = expected.loc[line[0]]
        assert line[column] == f"{own['mean']:.3f} ± {own['half']:.3f}"
    assert re.search(rf'<td class="h8"[^>]*><b>{expected["mean"].max():.3f}</b>', html_of(results))
    assert re.findall(r"<summary>(uniform.*?)</summary>", html_of(results)) == ["uniform, 10 %", "uniform, 20 %"]


def test_one_data_set_has_no_test_but_all_else() -> None:
    results = results_of(data=["digits"])
    found = Read(html_of(results, curves_of(results)))
    assert "No test of differences: a comparison needs two methods measured on the same two data sets" in found.text
    assert "mean rank" not in found.tables[0][0]
    for words in ("Time against quality", "Each data set", "Curves"):
        assert words in found.text
    assert "Pairs of methods" not in found.text


def test_only_what_there_is_data_for() -> None:
    results = results_of().query("metric == 'auc'")
    found = Read(html_of(results))
    assert "Time against quality" not in found.text
    assert "Curves" not in found.text
    all_failed = failed(results_of(methods=["a"]), "no", method="a")
    assert "failures 18" in Read(html_of(all_failed)).text
    only_curves = curves_of(results_of(task="other"))
    assert "other Curves" in Read(html_of(results, only_curves)).text


def test_pairs_and_their_warning() -> None:
    html = html_of(results_of(data=DATA[:6]))
    pairs = Read(html).tables[-1]
    assert pairs[0] == ["method a", "method b", "median of a − b", "a higher on", "b higher on", "p", "p by Holm"]
    assert pairs[1][3:] == ["6", "0", "0.0312", "0.0938"]
    assert "after the correction none can be below .05" in html
    assert "after the correction none" not in html_of(results_of(data=DATA[:8]))


# -- drawings


def test_the_diagram_has_ranks_and_groups() -> None:
    html = html_of(results_of(methods=METHODS[:5]))
    diagram = re.search(r'<svg class="diagram".*?</svg>', html, re.S)
    assert diagram is not None
    for i, method in enumerate(METHODS[:5]):
        assert f"<title>{method}: mean rank {i + 1:.2f}</title>" in diagram[0]
    ticks = {t: float(x) for x, t in re.findall(r'<text class="tick" x="([\d.]+)"[^>]*>(\d)</text>', diagram[0])}
    leads = [float(x) for x in re.findall(r'<path class="lead" d="M([\d.]+) ', diagram[0])]
    assert leads == [ticks[str(i)] for i in range(1, 6)]
    assert re.findall(r"<title>not different: (.*?)</title>", diagram[0]) == [
        "cg-score, lossval, lossval transport_power=0.0, dvgs",
        "lossval, lossval transport_power=0.0, dvgs, knn-shapley",
    ]
    assert "critical difference 3.52" in diagram[0]


def test_the_front_joins_what_is_not_dominated() -> None:
    results = results_of(methods=METHODS[:4])
    slow = (results["method"] == METHODS[1]) & (results["metric"] == "seconds")
    results.loc[slow, "value"] = 1000.0
    plot = re.search(r'<svg class="plot".*?</svg>', html_of(results), re.S)
    assert plot is not None
    points = {
        m[3]: (float(m[1]), float(m[2]))
        for m in re.finditer(r'<circle cx="([\d.]+)" cy="([\d.]+)"[^>]*/><text[^>]*>(.*?)</text>', plot[0])
    }
    front = re.search(r'<polyline class="front" points="(.*?)"', plot[0])
    assert front is not None
    joined = [tuple(map(float, p.split(","))) for p in front[1].split()]
    assert joined == [points[m] for m in (METHODS[3], METHODS[2], METHODS[0])]
    assert plot[0].count(", not dominated</title>") == 3


def test_names_in_the_scatter_do_not_cover_each_other() -> None:
    xs, ys = np.full(6, 400.0), 200.0 + np.arange(6.0)
    box = {"left": 62.0, "right": 980.0, "top": 14.0, "bottom": 430.0}
    labels = module._labels(xs, ys, ["a long name"] * 6, box)
    boxes = [module._rectangle(label["anchor"], label["x"], label["y"], 6.4 * 11) for label in labels]
    for i, (a, b, c, d) in enumerate(boxes):
        assert all(c <= x1 or x2 <= a or d <= y1 or y2 <= b for x1, y1, x2, y2 in boxes[:i])


def panels(html: str) -> dict[tuple[str, str], str]:
    """The drawing of each (title, data set), by its label."""
    drawn = re.findall(
        r'<svg viewBox="0 0 500 300" role="img" aria-label="(.*?): (.*?), uniform, 10 %">(.*?)</svg>', html, re.S
    )
    return {(title, data): svg for title, data, svg in drawn}


def points_of(path: str) -> np.ndarray:
    start, steps = path.removeprefix("M").split("l")
    moves = np.array(re.findall(r"-?\d+", steps), int).reshape(-1, 2)
    return np.cumsum(np.vstack([np.array(start.split(), int), moves]), axis=0)


def test_curves_are_means_with_bands() -> None:
    results = results_of(data=["digits"], methods=METHODS[:1], rates=(0.1,), seeds=2)
    curves = pd.concat(
        [curves_of(results, points=3).assign(y=np.tile([0, 0.5, 1], 2) * np.repeat([1, 0.9], 3))], ignore_index=True
    )
    svg = panels(html_of(results, curves))["Wrong rows found", "digits"]
    assert "<title>cg-score, 2 seeds</title>" in svg
    line = re.search(r'class="line" d="(.*?)"', svg)
    assert line is not None
    found = points_of(line[1])
    np.testing.assert_array_equal(found[:, 0], [66, 278, 490])
    np.testing.assert_allclose(found[:, 1], 262 - 252 * np.array([0, 0.475, 0.95]), atol=0.5)
    mean, half, n = module._mean_and_half(curves, np.array([0, 0.5, 1.0]))
    assert (mean.tolist(), n) == (pytest.approx([0, 0.475, 0.95]), 2)
    assert half.tolist() == pytest.approx([0, 12.7062 * 0.025, 12.7062 * 0.05], rel=1e-4)


def test_curves_that_end_early_are_not_made_longer() -> None:
    curves = pd.DataFrame({"seed": [0, 0, 0, 1, 1], "x": [1.0, 0.0, 0.5, 0.0, 0.5], "y": [3.0, 1.0, 2.0, 3.0, 4.0]})
    mean, half, _ = module._mean_and_half(curves, np.array([0, 0.25, 0.5, 1.0, 2.0]))
    assert mean[:4].tolist() == [2, 2.5, 3, 3]
    assert np.isnan(mean[4])
    assert np.isfinite(half).tolist() == [True, True, True, False, False]


def test_points_without_a_number_are_left_out() -> None:
    results = results_of(data=["digits"], methods=METHODS[:1], rates=(0.1,))
    curves = curves_of(results)
    bad = curves.assign(y=curves["y"].mask(curves["x"] == 0.5, np.inf).mask(curves["x"] == 1, np.nan))
    assert html_of(results, bad) == html_of(results, curves[(curves["x"] != 0.5) & (curves["x"] != 1)])


def test_long_curves_are_resampled() -> None:
    results = results_of(data=["digits"], methods=METHODS[:1], rates=(0.1,))
    svg = panels(html_of(results, curves_of(results, points=501)))["Wrong rows found", "digits"]
    lines = re.findall(r'class="(line|band)" d="(.*?)z?"', svg)
    assert [kind for kind, _ in lines] == ["band", "line"]
    assert all(len(points_of(path)) <= 52 for _, path in lines)


def test_the_best_eight_and_random_are_drawn_the_others_reachable() -> None:
    methods = [*METHODS[-1:], *METHODS[:12]]  # random first: by its numbers it would be the best
    results = results_of(methods=methods)
    found = Read(html_of(results, curves_of(results)))
    boxes = [own for own in found.named("input", type="checkbox") if own["id"].startswith("s0m")]
    assert len(boxes) == 13
    legend = [method for method in methods if method != "random"]
    assert ["checked" in own for own in boxes] == [True] * 9 + [False] * 4  # the first in the legend is random
    html = html_of(results, curves_of(results))
    numbers = dict(re.findall(r'<label class="m(\d+)">.*?</svg>(.*?)</label>', html))
    assert sorted(numbers.values()) == sorted(methods)
    assert [numbers[str(i)] for i in range(13)] == [*legend, "random"]
    for i in range(13):
        assert f"#s0:has(#s0m{i}:not(:checked)) .panel .m{i}{{display:none}}" in html
    colours = dict(re.findall(r"\.m(\d+)\{--own:(var\(--\w+\)(?:;--dash:[\d ]+)?)\}", html))
    assert len(set(colours.values())) == 13
    assert colours["12"] == "var(--soft);--dash:2 4"


def test_every_drawing_has_a_name() -> None:
    results = results_of()
    found = Read(html_of(results, curves_of(results, ("found", "remove-low", "unheard_of"))))
    drawings = [own for own in found.named("svg") if own.get("aria-hidden") != "true"]
    assert len(drawings) == 2 + 3 * 2 * 3
    assert all(own.get("aria-label") and own.get("role") == "img" for own in drawings)
    for title in ("Wrong rows found", "Removing the least valued rows", "unheard of"):
        assert title in found.text


# -- safety and size


def test_nothing_from_the_data_becomes_a_tag() -> None:
    evil = {
        name: {"digits": EVIL, "lossval": EVIL, "uniform": EVIL, "noisy-labels": EVIL}
        for name in ("data", "method", "kind", "task")
    }
    results = results_of().replace(evil)
    results.loc[results["metric"] == "average_precision", "metric"] = EVIL
    results = failed(results, EVIL, seed=1, method="cg-score")
    curves = curves_of(results).replace({"curve": {"found": EVIL}})
    html = to_html(results, curves, title=EVIL, notes=[EVIL])
    found = Read(html)
    assert [name for name, _ in found.tags if name in ("script", "img", "iframe", "object", "link", "base", "form")] == [
        "script"
    ]
    assert "{{ 7*7 }}" in found.text
    assert found.text.count("alert(1)") > 30
    assert not [own for _, own in found.tags if any(name.startswith("on") or name in ("style", "src") for name in own)]
    assert all(own["href"].startswith("#") for own in found.named("a"))


def test_the_policy_lets_only_the_pages_own_run() -> None:
    results = results_of()
    html = html_of(results, curves_of(results))
    policy = Read(html).named("meta")[1]["content"]
    hashes = {}
    for tag in ("style", "script"):
        body = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.S)
        assert len(body) == 1
        hashes[tag] = base64.b64encode(hashlib.sha256(body[0].encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; base-uri 'none'; style-src 'sha256-{hashes['style']}'; script-src 'sha256-{hashes['script']}'"
    )
    assert not re.search(r"https?:|//[a-z]|@import|url\(", html)


def test_a_large_comparison_is_a_small_page(tmp_path) -> None:
    results = results_of(DATA, METHODS, (0.05, 0.1, 0.2), 5)
    curves = curves_of(results, ("found", "remove-high", "remove-low", "window"), points=101)
    path = page(results, curves, tmp_path / "out.html", title="All")
    assert path.stat().st_size < 2e6
    assert len(Read(path.read_text(encoding="utf-8")).named("figure", **{"class": "panel"})) == 4 * 3 * 8


# -- files and bad calls


def test_it_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / "out.html"
    out.write_text(f"{GENERATOR} the page of yesterday")

    def fail(*args, **kwargs) -> None:
        raise RuntimeError("no")

    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", fail)
        with pytest.raises(RuntimeError, match="no"):
            page(results_of(), NO_CURVES, out, title="t")
    assert [p.name for p in tmp_path.iterdir()] == ["out.html"]
    assert out.read_text() == f"{GENERATOR} the page of yesterday"
    assert page(results_of(), NO_CURVES, out, title="t") == out
    assert [p.name for p in tmp_path.iterdir()] == ["out.html"]
    assert out.read_text(encoding="utf-8") == to_html(results_of(), NO_CURVES, title="t")


@pytest.mark.parametrize(("name", "says"), [("no/out.html", "does not exist"), ("folder", "is a folder")])
def test_a_path_that_cannot_be_written(tmp_path, name, says) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=says):
        page(results_of(), NO_CURVES, tmp_path / name, title="t")


@pytest.mark.parametrize(
    ("results", "curves", "metric", "says"),
    [
        (results_of().drop(columns="error"), NO_CURVES, None, "results needs the column 'error'"),
        (results_of(), NO_CURVES.drop(columns="x"), None, "curves needs the column 'x'"),
        (results_of().iloc[:0], NO_CURVES, None, "there are no results"),
        (results_of(), NO_CURVES, "acu", "no task has the metric 'acu'; there are: auc, average_precision, seconds"),
        (pd.concat([results_of()] * 2), NO_CURVES, None, "auc is there twice"),
    ],
)
def test_what_it_refuses(results, curves, metric, says) -> None:
    with pytest.raises(DataError, match=says):
        html_of(results, curves, metric=metric)


def test_missing_names_and_rates_are_shown() -> None:
    results = results_of().assign(kind=None, rate=np.nan, error=np.nan)
    results["seed"] += 3 * results.groupby([*KEYS, "metric"], dropna=False).cumcount()  # the rates fall together
    found = Read(html_of(results, curves_of(results)))
    assert "failures none" in found.text
    assert re.findall(r"<summary>(.*?)</summary>", html_of(results, curves_of(results)))[:2] == ["all", "all"]
    assert len(found.tables[1]) == 4
