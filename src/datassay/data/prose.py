"""Columns of free text: which they are, and the numbers that they become.

Words and pairs of words, by how rare they are (TF-IDF, sublinear), brought to a set number of columns by a truncated singular value
decomposition: measured, the CG-score finds more wrong labels in these than in all words (docs/features.md).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy.sparse as sp
from jaxtyping import Float
from numpy import ndarray

from datassay.engines.machine import blas_on

WIDTH = 256  # columns of a text; exact where there are no more words than that
_WORDS, _LETTERS = 3, 20  # of a text on average, either of which makes it one
_SAMPLE = 1000  # cells by which a column is judged
# scripts without blanks between words: Thai, Lao, Khmer, Burmese, kana, Chinese characters
_RUNNING = re.compile("[\u0e00-\u0eff\u1780-\u17ff\u1000-\u109f\u3040-\u30ff\u3400-\u9fff\U00020000-\U0002ffff]")


def is_prose(cells: Sequence[str], distinct: int) -> bool:
    """Whether the cells are free text: several words each, and most of them different; all in scripts without blanks.

    >>> is_prose(["it came late", "a joy to use", "broke in a week"], 3), is_prose(["red", "blue", "red"], 2)
    (True, False)
    """
    some = list(cells)[:_SAMPLE]
    if not some or distinct <= len(cells) / 2:
        return False
    words = float(np.mean([len(cell.split()) for cell in some]))
    letters = float(np.mean([len(cell) for cell in some]))
    return words >= _WORDS or (words >= 2 and letters >= _LETTERS) or _runs_on(some)


def names_rows(cells: Sequence[str], distinct: int) -> bool:
    """Whether nearly every cell is another word: a name, a key, a path."""
    return distinct >= 0.95 * len(cells)


def _runs_on(cells: Sequence[str]) -> bool:
    text = "".join(cell[:200] for cell in cells[:_SAMPLE])
    return len(text) > 4 * len(cells) and len(_RUNNING.findall(text)) > 0.3 * len(text)


class Prose:
    """One column of text as numbers; learned on the training rows, used again on validation rows."""

    how: str  #: in words
    key: str  #: of the training texts, by content

    def fit(self, cells: Sequence[str], length: float = 1.0) -> Float[ndarray, "n p"]:
        """(n, p), rows of a mean squared length ``length``; the last column is of texts without a known word."""
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        cells = list(cells)
        self.key = hashlib.blake2b(repr(cells).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        running = _runs_on(cells)
        form = {"analyzer": "char", "ngram_range": (1, 2)} if running else {"ngram_range": (1, 2)}
        pattern = {} if running else {"token_pattern": r"(?u)\b\w+\b"}
        for least in (2, 1) if len(cells) >= 50 else (1,):
            self.words = TfidfVectorizer(sublinear_tf=True, min_df=least, **form, **pattern)
            try:
                T = self.words.fit_transform(cells)
                break
            except ValueError:  # no word is in two texts, or there is none at all
                continue
        else:
            self.words, T = None, sp.csr_array((len(cells), 0))
        known, n = T.shape[1], len(cells)
        self.reduced = None
        if known > (k := min(WIDTH, n - 1)):
            self.reduced = TruncatedSVD(max(1, k), random_state=0)
            with blas_on(1):  # the same bits on any number of threads
                self.reduced.fit(T)
        of = "letters and pairs of letters" if running else "words and pairs of words"
        self.how = f"text, TF-IDF of {known} {of}"
        if self.reduced is not None:
            self.how += f", in {self.reduced.n_components} columns by SVD"
        self.scale = 1.0
        X = self.transform(cells)
        mean = float(np.mean(np.einsum("np,np->n", X, X)))
        self.scale = float(np.sqrt(length / mean)) if mean > 0 else 1.0
        return X * self.scale

    def transform(self, cells: Sequence[str]) -> Float[ndarray, "n p"]:
        """(n, p) of other texts."""
        cells = list(cells)
        T = sp.csr_array((len(cells), 0)) if self.words is None else sp.csr_array(self.words.transform(cells))
        with blas_on(1):
            X = T.toarray() if self.reduced is None else self.reduced.transform(T)
        nothing = np.diff(T.indptr) == 0
        return self.scale * np.column_stack([X, nothing])

    def columns(self, name: str) -> list[str]:
        """Their names."""
        if self.reduced is not None:
            words = [f"{name} {j}" for j in range(self.reduced.n_components)]
        else:
            words = [] if self.words is None else [f"{name}: {word}" for word in self.words.get_feature_names_out()]
        return [*words, f"{name}: no known word"]


def as_texts(column: pd.Series) -> list[str]:
    """Cells as texts, empty where there is none."""
    return ["" if gap else str(cell) for cell, gap in zip(column, column.isna(), strict=True)]
