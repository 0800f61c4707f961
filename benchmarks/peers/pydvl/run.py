"""pyDVL: KNN-Shapley, Data-OOB, leave-one-out, Shapley, Beta Shapley and Banzhaf values. All are already higher = keep.

The utility is the accuracy of logistic regression on the validation rows, 0 for no rows and for rows of one class, as in pyDVL's examples.
The methods that end after a number of trainings count them in this process, and so use one core.
"""

import sys
from pathlib import Path

from joblib import cpu_count, parallel_config
from pydvl.utils.status import Status
from pydvl.valuation import (
    BetaShapleyValuation,
    DataOOBValuation,
    Dataset,
    KNNShapleyValuation,
    LOOValuation,
    ModelUtility,
    MSRBanzhafValuation,
    PermutationSampler,
    StoppingCriterion,
    SupervisedScorer,
    TMCShapleyValuation,
)
from sklearn.ensemble import BaggingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

sys.path.append(str(Path(__file__).resolve().parents[1]))
from adapter import Found, main

# One process a core (the benchmark says how many, through LOKY_MAX_CPU_COUNT), one thread in each.
WORKERS = {"backend": "loky", "n_jobs": cpu_count(), "inner_max_num_threads": 1}


class Counted(ModelUtility):
    """A utility that knows how many models it has trained: a call is one, but that with no rows."""

    trained = 0

    def _utility(self, sample):
        Counted.trained += len(sample.subset) > 0
        return super()._utility(sample)


class Trainings(StoppingCriterion):
    """Done when so many models are trained; looked at after each subset or permutation."""

    def __init__(self, limit):
        super().__init__()
        self.limit = limit

    def _check(self, result):
        return Status.Converged if Counted.trained >= self.limit else Status.Pending

    def completion(self):
        return min(1.0, Counted.trained / self.limit)


def utility(rows):
    Counted.trained = 0
    scorer = SupervisedScorer("accuracy", Dataset(rows.X_val, rows.y_val), default=0.0, range=(0.0, 1.0))
    return Counted(LogisticRegression(max_iter=1000), scorer, show_warnings=False)


def valued(valuation, rows, note="", jobs=1):
    with parallel_config(n_jobs=jobs):
        result = valuation.fit(Dataset(rows.X, rows.y)).result.sort(key="index")
    return Found(result.values, note.format(result.counts.max()), Counted.trained)


def knn_shapley(rows, seed, trainings):
    """Exact, for a 10-nearest-neighbour classifier judged on the validation rows."""
    model = KNeighborsClassifier(n_neighbors=10)
    valuation = KNNShapleyValuation(model, Dataset(rows.X_val, rows.y_val), progress=False)
    with parallel_config(**WORKERS):
        result = valuation.fit(Dataset(rows.X, rows.y)).result
    return Found(result.sort(key="index").values)


def data_oob(rows, seed, trainings):
    """Bagged trees, the paper's weak learner; fitting them is part of the valuation and of its time.

    pyDVL compares the trees' predictions with the labels as given, and scikit-learn's bagging numbers the classes
    0, 1, ...; the labels here are such numbers, so that the two agree.
    """
    bag = BaggingClassifier(DecisionTreeClassifier(), n_estimators=trainings, n_jobs=cpu_count(), random_state=seed)
    result = DataOOBValuation(bag.fit(rows.X, rows.y)).fit(Dataset(rows.X, rows.y)).result
    return Found(result.sort(key="index").values, trainings=trainings)


def leave_one_out(rows, seed, trainings):
    return valued(LOOValuation(utility(rows)), rows)


def shapley(rows, seed, trainings):
    """TMC-Shapley with its default truncation; ends with the first permutation that has used up the trainings."""
    done = Trainings(trainings)
    valuation = TMCShapleyValuation(utility(rows), is_done=done, seed=seed, show_warnings=False)
    return valued(valuation, rows, "{} permutations")


def beta_shapley(rows, seed, trainings):
    """Beta(4, 1), from permutations, not truncated: its sampler's default."""
    sampler = PermutationSampler(seed=seed)
    done = Trainings(trainings)
    valuation = BetaShapleyValuation(utility(rows), sampler, is_done=done, alpha=4, beta=1, show_warnings=False)
    return valued(valuation, rows, "{} permutations")


def banzhaf(rows, seed, trainings):
    """Maximum sample reuse: every subset serves every row."""
    done = Trainings(trainings)
    return valued(MSRBanzhafValuation(utility(rows), is_done=done, seed=seed, show_warnings=False), rows)


METHODS = {
    "knn-shapley": knn_shapley,
    "data-oob": data_oob,
    "leave-one-out": leave_one_out,
    "shapley": shapley,
    "beta-shapley": beta_shapley,
    "banzhaf": banzhaf,
}
main(METHODS, "pyDVL", "scikit-learn", "numpy")
