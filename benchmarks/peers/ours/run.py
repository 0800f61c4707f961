"""datassay, in the interpreter that runs the benchmark: each method as a peer does it (the same model, utility and number of
trainings), and, where that is another thing, with its own defaults and that number of trainings."""

import sys
from pathlib import Path

import datassay as da

sys.path.append(str(Path(__file__).resolve().parents[1]))
from adapter import Found, main


def method(name, model=None, validation=True, trains=True, flags=False, **options):
    """The adapter of one method; ``trains``: True, it is told how many models to train; or how many it trains by itself."""

    def run(rows, seed, trainings):
        data = da.Dataset(rows.X, rows.y, rows.X_val, rows.y_val) if validation else da.Dataset(rows.X, rows.y)
        more = {"n_models": trainings} if trains is True else {}
        if model == "logistic":
            from sklearn.linear_model import LogisticRegression

            more["model"] = LogisticRegression(max_iter=1000)
        elif model == "tree":
            from sklearn.tree import DecisionTreeClassifier

            more["model"] = DecisionTreeClassifier()
        if name not in ("cg-score", "lava"):
            more["n_jobs"] = 1
        values = da.value(data, name, seed=seed, progress=False, **more, **options)
        done = values.stats.get("trainings", trains or 0)
        return Found(values.scores, trainings=done, flags=values.flagged if flags else None)

    return run


LIKE = {"model": "logistic", "utility": "accuracy"}  # as the peers have it
METHODS = {
    "cg-score": method("cg-score", validation=False, trains=0),
    "cg-score-paper": method("cg-score", validation=False, trains=0, ridge=0.0, bias=False, classes="own"),
    "cg-score-trusted": method("cg-score", trains=0, trusted=True),
    "knn-shapley": method("knn-shapley", trains=0, k=10),
    "knn-shapley-rows": method("knn-shapley", validation=False, trains=0, k=10, judge="rows", metric="cosine"),
    "self-confidence": method("self-confidence", "logistic", validation=False, trains=5),
    "confident-learning": method("confident-learning", "logistic", validation=False, trains=5, flags=True),
    "data-oob": method("data-oob", "tree", validation=False),
    "data-oob-default": method("data-oob", validation=False),
    "leave-one-out": method("leave-one-out", trains=0, **LIKE),
    "leave-one-out-default": method("leave-one-out", trains=0),
    "shapley-permutation": method("shapley", estimator="permutation", **LIKE),
    "shapley": method("shapley", **LIKE),
    "shapley-default": method("shapley"),
    "beta-shapley": method("beta-shapley", **LIKE),
    "beta-shapley-default": method("beta-shapley"),
    "banzhaf-msr": method("banzhaf", estimator="msr", **LIKE),
    "banzhaf": method("banzhaf", **LIKE),
    "banzhaf-default": method("banzhaf"),
    "ame": method("ame", **LIKE),
    "ame-default": method("ame"),
    "lava": method("lava", trains=0),
    "dvrl": method("dvrl", trains=1000, runs=1, iterations=1000),
    "dvrl-default": method("dvrl", trains=2000),
    "tracin": method("tracin", trains=1),
}
main(METHODS, "datassay", "scikit-learn", "numpy")
