"""cleanlab: label quality from out-of-fold probabilities, and its KNN-Shapley. Both are already higher = keep."""

import sys
from pathlib import Path

from cleanlab.data_valuation import data_shapley_knn
from cleanlab.rank import get_label_quality_scores
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

sys.path.append(str(Path(__file__).resolve().parents[1]))
from adapter import main


def self_confidence(rows, seed, limit):
    """cleanlab takes probabilities; five-fold logistic regression makes them, and is part of the time."""
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    model = LogisticRegression(max_iter=1000)
    probabilities = cross_val_predict(model, rows.X, rows.y, cv=folds, method="predict_proba")
    return get_label_quality_scores(rows.y, probabilities, method="self_confidence"), ""


def knn_shapley(rows, seed, limit):
    """Its defaults (k = 10, cosine distance); the training rows judge one another, no validation rows."""
    return data_shapley_knn(rows.y, features=rows.X), ""


main({"self-confidence": self_confidence, "knn-shapley": knn_shapley}, "cleanlab", "scikit-learn", "numpy")
