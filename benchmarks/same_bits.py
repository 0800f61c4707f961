"""Do two checkouts give the same bits? Scores of six methods on three data sets, computed by each, compared.

python benchmarks/same_bits.py OLD_SRC NEW_SRC        two folders that hold the package datassay
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

CODE = """
import hashlib, json
import numpy as np, datassay as da
from sklearn.datasets import load_breast_cancer, load_digits, load_wine

OPTIONS = {"cg-score": {}, "ame": {"n_models": 200}, "shapley": {"n_models": 200}, "data-oob": {"n_models": 100},
           "dvgs": {"epochs": 5}, "lossval": {"epochs": 5}}
found = {}
for load in (load_digits, load_breast_cancer, load_wine):
    X, y = load(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))[:170]
    X, y = X[order], y[order]
    data = da.Dataset(X[:130], y[:130], X[130:], y[130:])
    for method, options in OPTIONS.items():
        scores = da.value(data, method, seed=0, progress=False, **options).scores
        assert np.ptp(scores) > 0
        found[f"{method}, {load.__name__[5:]}"] = hashlib.blake2b(scores.tobytes(), digest_size=8).hexdigest()
print(json.dumps(found))
"""


def scores_of(folder: str) -> dict[str, str]:
    """Method and data set: digest of the scores."""
    env = os.environ | {"PYTHONPATH": folder, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", CODE], env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{folder}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    old, new = (scores_of(folder) for folder in sys.argv[1:])
    for name in old:
        print(f"{name:28} {'same' if old[name] == new[name] else 'DIFFERENT'}")
    print(f"{sum(old[name] == new[name] for name in old)} of {len(old)} the same")


if __name__ == "__main__":
    main()
