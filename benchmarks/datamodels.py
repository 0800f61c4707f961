"""Datamodels by each rule for the penalty: what they foretell of new trainings, how they find wrong labels, and the time of the LASSOs.

    python benchmarks/datamodels.py                          # digits, breast cancer; 1,000 and 300 trainings; minutes
    python benchmarks/datamodels.py --path folder            # and MNIST, from the folder's mnist_train.parquet

500 rows (breast cancer 300), a tenth of the labels wrong, up to 200 answers, the default model. 200 more trainings are kept apart:
the rank correlation is that of what is foretold of them with what they say, the mean over the answers. Seconds of the CPU, one thread.
Writes ``benchmarks/out/datamodels.md``.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from cg_score import OUT, markdown
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

import datassay as da
from datassay.engines import effects
from datassay.engines.designs import Inclusion
from datassay.methods.datamodels import TOL
from datassay.subsets.study import Trained, stop_when, study_of
from datassay.subsets.utilities import log_odds, of_labels

SETS = {"digits": (500, 200), "breast-cancer": (300, 150), "mnist": (500, 200)}
NEW = 200


def trainings(data: da.Dataset, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Masks (number, n), and the log-odds of each answer (number, m)."""
    shared = Trained(training=None, device="auto", store=None, seed=0, n_jobs=1, progress=False)
    study, stop = study_of("datamodels", data, None, shared), stop_when("datamodels", number, {"budget": None})
    collected, said = study.sample(Inclusion("grid", (0.5,)), stop, lambda p: log_odds(of_labels(p, data.codes_val)))
    return collected.subsets.counts.astype(np.float64), said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", type=Path, help="folder with mnist_train.parquet")
    parser.add_argument("--trainings", type=int, nargs="+", default=[1000, 300])
    call = parser.parse_args()
    lines = []
    for name, (n, m) in SETS.items():
        if name == "mnist" and call.path is None:
            continue
        drawn = da.datasets.drawn(name, train=n, val=m, test=10, seed=0, paths={"": call.path} if name == "mnist" else None)
        data, wrong = da.plant(drawn.data, "uniform", 0.1, seed=0)
        X, U = trainings(data, max(call.trainings) + NEW)
        for number in call.trainings:
            for rule, length in (("gcv", 50), ("min", 100), ("1se", 100)):
                start = time.process_time()
                found = effects.lasso(X[:number], U[:number], rule=rule, folds=5, length=length, tol=TOL, n_jobs=1)
                seconds = time.process_time() - start
                foretold = X[-NEW:] @ found.coef
                told = np.mean([spearmanr(foretold[:, q], U[-NEW:, q]).statistic for q in range(U.shape[1])])
                auc = roc_auc_score(wrong, -found.coef.mean(axis=1))
                lines.append([name, number, rule, f"{told:.3f}", f"{auc:.3f}", f"{seconds:.1f}"])
                print(*lines[-1], flush=True)
    OUT.mkdir(exist_ok=True)
    (OUT / "datamodels.md").write_text(
        markdown(["rows", "trainings", "rule", "rank correlation", "AUC", "CPU s"], lines), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
