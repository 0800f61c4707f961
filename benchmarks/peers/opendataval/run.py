"""OpenDataVal: the methods that datassay has too. Its values are already higher = keep.

The model of the methods that train on subsets is scikit-learn's logistic regression in OpenDataVal's wrapper (trees for Data-OOB), and the
utility its accuracy, OpenDataVal's default. Its own data loader isn't used: it would plant wrong labels among the validation rows too.
"""

import sys
from pathlib import Path

import torch
from opendataval.dataval import (
    AME,
    DVRL,
    BetaShapley,
    DataBanzhaf,
    DataOob,
    DataShapley,
    KNNShapley,
    LavaEvaluator,
    LeaveOneOut,
    TMCSampler,
)
from opendataval.metrics import accuracy
from opendataval.model import ClassifierSkLearnWrapper
from opendataval.model import LogisticRegression as TorchLogisticRegression
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

sys.path.append(str(Path(__file__).resolve().parents[1]))
from adapter import Found, main


class Counted(ClassifierSkLearnWrapper):
    """A model that knows how often it was trained."""

    trained = 0

    def fit(self, *args, **options):
        Counted.trained += 1
        return super().fit(*args, **options)


def given(evaluator, rows, model=None):
    """The evaluator with its data: float rows, one-hot labels."""
    classes = int(rows.y.max()) + 1
    X, X_val = (torch.tensor(part, dtype=torch.float) for part in (rows.X, rows.X_val))
    y, y_val = (torch.nn.functional.one_hot(torch.tensor(part), classes).float() for part in (rows.y, rows.y_val))
    if model is not None:
        Counted.trained = 0
        evaluator.input_model_metric(model(X.shape[1], classes), accuracy)
    return evaluator.input_data(X, y, X_val, y_val)


def logistic(columns, classes):
    return Counted(LogisticRegression, classes, max_iter=1000)


def tree(columns, classes):
    return Counted(DecisionTreeClassifier, classes)


def valued(evaluator, **options):
    evaluator.train_data_values(**options)
    return Found(evaluator.evaluate_data_values(), trainings=Counted.trained)


def knn_shapley(rows, seed, trainings):
    """Its default, k = 10."""
    return valued(given(KNNShapley(k_neighbors=10, random_state=seed), rows))


def data_oob(rows, seed, trainings):
    return valued(given(DataOob(num_models=trainings, random_state=seed), rows, tree))


def leave_one_out(rows, seed, trainings):
    return valued(given(LeaveOneOut(random_state=seed), rows, logistic))


def permutations(evaluator, rows, trainings):
    """Its truncation; ends with the first permutation that has used up the trainings."""
    given(evaluator, rows, logistic)
    done = 0
    while Counted.trained < trainings:
        evaluator.train_data_values()
        done += 1
    return Found(evaluator.evaluate_data_values(), f"{done} permutations", Counted.trained)


def shapley(rows, seed, trainings):
    """Truncated permutations; the sampler that its class takes by default does 100 of them before it looks whether to stop."""
    return permutations(DataShapley(TMCSampler(1, cache_name=None, random_state=seed)), rows, trainings)


def beta_shapley(rows, seed, trainings):
    """Beta(4, 1), its default."""
    return permutations(BetaShapley(TMCSampler(1, cache_name=None, random_state=seed)), rows, trainings)


def banzhaf(rows, seed, trainings):
    return valued(given(DataBanzhaf(num_models=trainings, random_state=seed), rows, logistic))


def ame(rows, seed, trainings):
    """Its number of models is that of each of four proportions."""
    found = valued(given(AME(num_models=max(1, trainings // 4), random_state=seed), rows, logistic))
    return found._replace(note="" if found.scores.any() else "all values are 0")


def lava(rows, seed, trainings):
    return valued(given(LavaEvaluator(random_state=seed), rows))


def dvrl(rows, seed, trainings):
    """Its defaults, 1,000 selections; the predictor is its own logistic regression, in ten epochs at 0.1.

    Its default training of one epoch at 0.01 is one step on 32 rows: on the digits the values are then noise (AUC .47).
    """
    torch.manual_seed(seed)
    evaluator = given(DVRL(rl_epochs=1000, random_state=seed), rows, TorchLogisticRegression)
    return valued(evaluator, epochs=10, lr=0.1)._replace(trainings=1000)


METHODS = {
    "knn-shapley": knn_shapley,
    "data-oob": data_oob,
    "leave-one-out": leave_one_out,
    "shapley": shapley,
    "beta-shapley": beta_shapley,
    "banzhaf": banzhaf,
    "ame": ame,
    "lava": lava,
    "dvrl": dvrl,
}
main(METHODS, "opendataval", "torch", "scikit-learn", "numpy")
