"""How long a review takes to re-rank after a decision, and to say its numbers.

    python benchmarks/review.py [rows] [decisions]

Rows are drawn (10 classes, 64 columns, a twentieth of the labels wrong). Printed: seconds for the inverse, which is made once, in the
background; for each kind of decision the median and the greatest of the times until the new order is there, and the median beside one
product of the matrix with the targets, which a ranking from scratch would need at least. Then a whole answer of the server: decide,
re-rank, the next row with what speaks for and against it, and all numbers.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import datassay as da
from datassay.review.cards import Cards
from datassay.review.live import Known, Live
from datassay.review.record import Record
from datassay.review.session import Session


def main(n: int = 10_000, decisions: int = 200) -> None:
    rng = np.random.default_rng(0)
    K = 10
    true = np.arange(n) % K
    centres = rng.normal(size=(K, 64))
    X = centres[true] + 1.5 * rng.normal(size=(n, 64))
    y = true.copy()
    wrong = rng.permutation(n)[: n // 20]
    y[wrong] = (y[wrong] + 1 + rng.integers(0, K - 1, len(wrong))) % K
    data = da.Dataset(X, y)
    values = da.value(data, method="cg-score", progress=False)
    begin = time.perf_counter()
    live = Live(values, data)
    print(f"{n:,} rows: the inverse in {live.A.dtype}, {time.perf_counter() - begin:.1f} s")
    begin = time.perf_counter()
    live.A @ live.Y.astype(live.A.dtype)
    product = time.perf_counter() - begin
    order = np.argsort(values.scores)[:decisions]
    for kind in ("another label", "kept", "dropped", "taken back"):
        took = []
        for row in order[::-1] if kind == "taken back" else order:
            known = {"another label": Known(int(true[row])), "kept": Known(int(data.codes[row])), "taken back": None}.get(
                kind, Known(int(data.codes[row]), True)
            )
            if kind != "taken back" and live.changes and live.changes[-1].row == row:
                live.know(row, None)
            begin = time.perf_counter()
            live.know(int(row), known)
            np.argsort(live.scores())
            took.append(time.perf_counter() - begin)
        print(
            f"  {kind}: {np.median(took):.4f} s, at most {max(took):.4f} s, {np.median(took) / product:.2f} of one product with the matrix"
        )
        if kind != "taken back":
            for row in order[::-1]:
                live.know(int(row), None)
        if kind == "dropped":
            for row in order:
                live.know(int(row), Known(int(true[row])))
    del live
    with tempfile.TemporaryDirectory() as folder:
        session = Session(values, data, Record(Path(folder) / "decisions.csv", data))
        session.wait()
        cards = Cards(session)
        took, parts = [], []
        for _ in range(decisions):
            row = session.next("a", "w")
            assert row is not None
            begin = time.perf_counter()
            session.decide("a", "w", row, "keep" if y[row] == true[row] else "relabel", label=str(true[row]), seconds=1)
            parts.append(time.perf_counter() - begin)
            following = session.next("a", "w")
            assert following is not None
            cards.card(following)
            session.numbers("a")
            took.append(time.perf_counter() - begin)
        print(f"  a decision on the disk, and re-ranked: {np.median(parts):.4f} s, at most {max(parts):.4f} s")
        print(f"  a whole answer: {np.median(took):.4f} s, at most {max(took):.4f} s ({decisions} decisions)")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
