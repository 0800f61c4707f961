"""datassay's CG-score in three settings, in the interpreter that runs the benchmark."""

import sys
from pathlib import Path

import datassay as da

sys.path.append(str(Path(__file__).resolve().parents[1]))
from adapter import main


def default(rows, seed, limit):
    """As `datassay value` runs it, with no validation rows to look at."""
    return da.value(da.Dataset(rows.X, rows.y), "cg-score", seed=seed).scores, ""


def paper(rows, seed, limit):
    """Equation 6 of Ki, Choi and Chung (2023): no ridge, no constant, the score of the given class alone."""
    data = da.Dataset(rows.X, rows.y)
    return da.value(data, "cg-score", seed=seed, ridge=0.0, bias=False, classes="own").scores, ""


def trusted(rows, seed, limit):
    """The defaults, with the validation rows in the same matrix as rows whose labels are right."""
    data = da.Dataset(rows.X, rows.y, rows.X_val, rows.y_val)
    return da.value(data, "cg-score", seed=seed, trusted=True).scores, ""


main({"cg-score": default, "cg-score-paper": paper, "cg-score-trusted": trusted}, "datassay", "numpy", "scipy")
