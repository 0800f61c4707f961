"""cleanlab: label quality and label issues from out-of-fold probabilities, and its KNN-Shapley. All are already higher = keep."""

import sys
from pathlib import Path

from cleanlab.data_valuation import data_shapley_knn
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

sys.path.append(str(Path(__file__).resolve().parents[1]))
from adapter import Found, main


def probabilities(rows, seed):
    """cleanlab takes probabilities; five-fold logistic regression makes them, and is part of the time."""
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    return cross_val_predict(LogisticRegression(max_iter=1000), rows.X, rows.y, cv=folds, method="predict_proba")


def self_confidence(rows, seed, trainings):
    return Found(get_label_quality_scores(rows.y, probabilities(rows, seed), method="self_confidence"), trainings=5)


def confident_learning(rows, seed, trainings):
    """Its default filter, prune_by_noise_rate; the scores are those that it ranks the issues by."""
    p = probabilities(rows, seed)
    flags = find_label_issues(rows.y, p, n_jobs=1)
    return Found(get_label_quality_scores(rows.y, p, method="self_confidence"), trainings=5, flags=flags)


def knn_shapley(rows, seed, trainings):
    """Its defaults (k = 10, cosine distance); the training rows judge one another, no validation rows."""
    return Found(data_shapley_knn(rows.y, features=rows.X))


METHODS = {"self-confidence": self_confidence, "confident-learning": confident_learning, "knn-shapley-rows": knn_shapley}
main(METHODS, "cleanlab", "scikit-learn", "numpy")
