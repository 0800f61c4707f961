#!/usr/bin/env bash
# distributed 2026.8.0 with torch 2.13.0: a slice of a tensor is scattered as its own rows, and submitted as all rows of the tensor
#
# Blocks of rows of a tensor that go to workers, to take their gradients say, are what cluster computing is for. Guess before it was run:
# distributed knows tensors, and sends ten rows as ten rows wherever they are an argument. Seen: scatter does, 4,000 bytes, by its own way
# for tensors; client.submit and joblib's Dask backend pickle a task with its arguments, and a pickled slice has the whole storage that it
# looks into, 40,000,000 bytes, for every block anew (so do joblib's own processes). The same slice of a numpy array travels as ten rows.
# So: x[rows].clone() in what is submitted, or scatter.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check distributed==2026.8.0 joblib==1.6.0 torch==2.13.0 numpy==2.4.6
cd "$folder"
cat > look.py <<'PY'
import warnings

import torch
from distributed import Client, LocalCluster
from joblib import Parallel, delayed, parallel_config

warnings.simplefilter("ignore")


def there(block):
    return block.untyped_storage().nbytes() if isinstance(block, torch.Tensor) else block.nbytes


if __name__ == "__main__":
    x = torch.zeros(100_000, 100)
    block = x[:10]
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        print("scatter", client.submit(there, client.scatter(block), pure=False).result())
        print("submit", client.submit(there, block, pure=False).result())
        print("submit, a clone", client.submit(there, block.clone(), pure=False).result())
        print("submit, numpy", client.submit(there, x.numpy()[:10], pure=False).result())
        with parallel_config("dask"):
            print("joblib on dask", *Parallel()(delayed(there)(block) for _ in range(1)))
PY
said=$("$folder/venv/bin/python" look.py 2>/dev/null)
expected="scatter 4000
submit 40000000
submit, a clone 4000
submit, numpy 4000
joblib on dask 40000000"
echo "$said"
if [ "$said" != "$expected" ]; then
  echo "distributed behaves otherwise now" >&2
  exit 1
fi
