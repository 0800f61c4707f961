"""Numbers of the authors' released code, where a folder of them is at hand: DATASSAY_REFERENCE=folder make test.

Each file holds X, y and the code's cg, term_cross, term_a2, term_b2; its term_cross is ab, half of the paper's 2ab.
"""

import os
from pathlib import Path

import numpy as np
import pytest

import datassay as da

FOLDER = os.environ.get("DATASSAY_REFERENCE")


@pytest.mark.skipif(FOLDER is None, reason="DATASSAY_REFERENCE names no folder")
@pytest.mark.parametrize("name", ["gauss", "digits", "breast_cancer"])
def test_the_authors_code_gives_the_same_numbers(name):
    with np.load(Path(str(FOLDER)) / f"cg_score_{name}.npz") as held:
        columns = da.value(da.Dataset(held["X"], held["y"]), method="cg-score", ridge=0, classes="own").columns
        assert np.ptp(held["cg"]) > 1
        for theirs, ours in (("cg", "cg_score"), ("term_a2", "a2"), ("term_b2", "b2")):
            np.testing.assert_allclose(columns[ours], held[theirs], rtol=1e-6)
        np.testing.assert_allclose(columns["cross_term"], 2 * held["term_cross"], rtol=1e-6)
