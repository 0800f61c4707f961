"""pyDVL: KNN-Shapley, Data-OOB and truncated Monte Carlo (TMC) Shapley. Its values are already higher = keep."""

import sys
from pathlib import Path

from joblib import cpu_count, parallel_config
from pydvl.valuation import (
    DataOOBValuation,
    Dataset,
    KNNShapleyValuation,
    MaxTime,
    ModelUtility,
    SupervisedScorer,
    TMCShapleyValuation,
)
from sklearn.ensemble import BaggingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

sys.path.append(str(Path(__file__).resolve().parents[1]))
from adapter import main

# One process a core (the benchmark says how many, through LOKY_MAX_CPU_COUNT), one thread in each.
WORKERS = {"backend": "loky", "n_jobs": cpu_count(), "inner_max_num_threads": 1}


def knn_shapley(rows, seed, limit):
    """Exact, for a 5-nearest-neighbour classifier judged on the validation rows."""
    valuation = KNNShapleyValuation(KNeighborsClassifier(n_neighbors=5), Dataset(rows.X_val, rows.y_val), progress=False)
    with parallel_config(**WORKERS):
        result = valuation.fit(Dataset(rows.X, rows.y)).result
    return result.sort(key="index").values, ""


def data_oob(rows, seed, limit):
    """1,000 bagged trees, the paper's weak learner; fitting them is part of the valuation and of its time.

    pyDVL compares the trees' predictions with the labels as given, and scikit-learn's bagging numbers the classes
    0, 1, ...; the labels here are such numbers, so that the two agree.
    """
    bag = BaggingClassifier(DecisionTreeClassifier(), n_estimators=1000, n_jobs=cpu_count(), random_state=seed)
    result = DataOOBValuation(bag.fit(rows.X, rows.y)).fit(Dataset(rows.X, rows.y)).result
    return result.sort(key="index").values, ""


def tmc_shapley(rows, seed, limit):
    """pyDVL's default truncation, logistic regression, accuracy on the validation rows, stopped by the clock."""
    scorer = SupervisedScorer("accuracy", Dataset(rows.X_val, rows.y_val), default=0.0, range=(0.0, 1.0))
    utility = ModelUtility(LogisticRegression(max_iter=1000), scorer, show_warnings=False)
    valuation = TMCShapleyValuation(utility, is_done=MaxTime(limit), seed=seed, show_warnings=False)
    with parallel_config(**WORKERS):
        result = valuation.fit(Dataset(rows.X, rows.y)).result
    result = result.sort(key="index")
    counts = result.counts
    return result.values, f"{counts.min()} to {counts.max()} marginal contributions a row"


main({"knn-shapley": knn_shapley, "data-oob": data_oob, "tmc-shapley": tmc_shapley}, "pyDVL", "scikit-learn", "numpy")
