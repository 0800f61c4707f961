"""What one writes in five lines without any library for data valuation: probability of the given label."""

import sys
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

sys.path.append(str(Path(__file__).resolve().parents[1]))
from adapter import Found, main


def clean_model(rows, seed, trainings):
    """A model fitted on the clean validation rows alone reads the training labels."""
    model = LogisticRegression(max_iter=1000).fit(rows.X_val, rows.y_val)
    if not np.isin(rows.y, model.classes_).all():
        raise ValueError("the validation rows lack a class of the training rows")
    given = np.searchsorted(model.classes_, rows.y)
    return Found(model.predict_proba(rows.X)[np.arange(len(rows.y)), given], trainings=1)


def out_of_fold(rows, seed, trainings):
    """Every training row is read by a model that was fitted on the other four folds, wrong labels included."""
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    model = LogisticRegression(max_iter=1000)
    probabilities = cross_val_predict(model, rows.X, rows.y, cv=folds, method="predict_proba")
    return Found(probabilities[np.arange(len(rows.y)), np.searchsorted(np.unique(rows.y), rows.y)], trainings=5)


main({"clean-model": clean_model, "self-confidence": out_of_fold}, "scikit-learn", "numpy")
