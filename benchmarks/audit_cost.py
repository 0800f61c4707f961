"""What an audit costs, in CG-scores of the same rows, by CPU time; and whether it stopped at the CG-score.

    python benchmarks/audit_cost.py --path folder        # about five minutes; the folder has adult.parquet and mnist_train.parquet

Each set has 10 % errors where classes meet, as people err. "value" is what `datassay value` without -m does: the audit, and the
valuation by what it recommends. BLAS has one thread, so that CPU time is what an idle core would take.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

import datassay as da
from datassay.evaluation import plant
from datassay.evaluation.datasets import drawn

SETS = {"digits": 1500, "breast-cancer": 400, "2dplanes": 3000, "adult": 5000, "mnist": 5000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--path", type=Path, required=True)
    parser.add_argument("--kind", default="near", help="of the errors")
    call = parser.parse_args()
    lines = []
    with threadpool_limits(1):
        da.value(drawn("iris", train=100, val=0, test=0, seed=0).data, "cg-score", progress=False)  # imports
        for name, rows in SETS.items():
            file = {"adult": "adult.parquet", "mnist": "mnist_train.parquet"}.get(name)
            split = drawn(name, train=rows, val=0, test=0, seed=0, paths=None if file is None else {name: call.path / file})
            data, _ = plant(split.data, call.kind, 0.1, seed=0)
            start = time.process_time()
            da.value(data, "cg-score", progress=False)
            one = time.process_time() - start
            start = time.process_time()
            audited = da.audit(data)
            spent = time.process_time() - start
            start = time.process_time()
            da.value(data, audited.method, progress=False, **audited.options)
            whole = spent + time.process_time() - start
            lines.append(
                {"data": name, "rows": len(data), "CG-score s": one, "audit": spent / one, "value": whole / one,
                 "recommended": audited.name, "stopped early": audited.early, "copies": audited.repeats}
            )  # fmt: skip
            print(lines[-1], flush=True)
    print(pd.DataFrame(lines).round(2).to_string(index=False))
    print(f"median of audit: {np.median([line['audit'] for line in lines]):.1f} CG-scores")


if __name__ == "__main__":
    main()
