"""One KNN-Shapley of one library on given rows, in a process of its own: seconds, peak memory, values.

    python knn_scale.py in.npz out.npz --library datassay --judge validation --k 5 --cores 2

`in.npz` holds X, y, X_val, y_val with whole-number labels. Imported libraries are part of the peak; the seconds are those of
the call alone, after one on 200 rows that pays for what is loaded at first use. Runs in each peer's virtual environment, so
it imports nothing else.
"""

import argparse
import json
import platform
import resource
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np


def datassay(X, y, X_val, y_val, *, judge, k, cores, tolerance):
    """Exact, or with cleanlab's truncation; threads, not processes."""
    import datassay as da

    data = da.Dataset(X, y, X_val, y_val)
    return da.value(data, "knn-shapley", k=k, judge=judge, max_error=tolerance, n_jobs=cores, progress=False).scores


def cleanlab(X, y, X_val, y_val, *, judge, k, cores, tolerance):
    """The rows judge one another; its values are moved to [0, 1], and moved back here."""
    from cleanlab.data_valuation import data_shapley_knn

    return 2 * data_shapley_knn(y, features=X, k=k, metric="euclidean") - 1


def pydvl(X, y, X_val, y_val, *, judge, k, cores, tolerance):
    """Validation rows judge; a process a core."""
    from joblib import parallel_config
    from pydvl.valuation import Dataset, KNNShapleyValuation
    from sklearn.neighbors import KNeighborsClassifier

    valuation = KNNShapleyValuation(KNeighborsClassifier(n_neighbors=k), Dataset(X_val, y_val), progress=False)
    with parallel_config(backend="loky", n_jobs=cores, inner_max_num_threads=1):
        return valuation.fit(Dataset(X, y)).result.sort(key="index").values


LIBRARIES = {
    "datassay": (datassay, ("datassay", "numpy")),
    "cleanlab": (cleanlab, ("cleanlab", "numpy", "scikit-learn")),
    "pydvl": (pydvl, ("pyDVL", "numpy", "scikit-learn")),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--library", choices=LIBRARIES, required=True)
    parser.add_argument("--judge", choices=("validation", "rows"), required=True)
    parser.add_argument("--k", type=int, required=True)
    parser.add_argument("--cores", type=int, required=True)
    parser.add_argument("--tolerance", type=float, default=0.0)
    call = parser.parse_args()
    with np.load(call.source, allow_pickle=False) as arrays:
        rows = [arrays[name] for name in ("X", "y", "X_val", "y_val")]
    work, packages = LIBRARIES[call.library]
    settings = {"judge": call.judge, "k": call.k, "cores": call.cores, "tolerance": call.tolerance}
    work(*(part[:200] for part in rows), **settings)
    start = time.perf_counter()
    scores = work(*rows, **settings)
    seconds = time.perf_counter() - start
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    workers = 0
    if (
        call.library == "pydvl"
    ):  # its workers are waited for, so that their peak is known: that of the largest, times their number
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True)
        workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit * call.cores
    versions = {"python": platform.python_version()} | {package: version(package) for package in packages}
    np.savez(call.target, scores=scores, seconds=seconds, peak=peak + workers, versions=json.dumps(versions))


if __name__ == "__main__":
    main()
