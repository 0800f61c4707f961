"""The words of a text that speak for the suggested label, against the given one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from datassay.data.dataset import Dataset
from datassay.data.prose import as_texts

MOST = 5  # words that are shown
NUMBERS = 2_500_000  # classes times the words that are counted, the commonest
LEAST = 2  # texts of the suggested label that have the word
TIMES = 2.0  # so many times as often as texts of the given one


class Words:
    """Of every column of free text, in how many texts of each class a word is."""

    def __init__(self, data: Dataset) -> None:
        self.columns: list[tuple[str, Any, sp.csr_array, np.ndarray]] = []
        if data.task == "regression" or not isinstance(data.shown, pd.DataFrame):
            return
        self.codes, self.sizes = data.codes, np.bincount(data.codes, minlength=len(data.classes))
        from sklearn.feature_extraction.text import CountVectorizer

        hot = sp.csr_array((np.ones(len(data)), (data.codes, np.arange(len(data)))), shape=(len(self.sizes), len(data)))
        for name in map(str, data.shown.columns):
            if not ("TF-IDF" in (how := data.encoding.get(name, "")) and "pairs of words" in how):
                continue
            texts = as_texts(data.shown.iloc[:, [str(c) for c in data.shown.columns].index(name)])
            most = max(1000, NUMBERS // len(self.sizes))
            counter = CountVectorizer(binary=True, token_pattern=r"(?u)\b\w+\b", dtype=np.float64, max_features=most)
            try:
                found = sp.csr_array(counter.fit_transform(texts))
            except ValueError:  # no text has a word
                continue
            self.columns.append((name, counter.get_feature_names_out(), found, (hot @ found).toarray()))

    def of(self, row: int, suggested: int) -> list[dict[str, Any]]:
        """For each column of text that has some: the words of this row that are in more texts of the suggested label than of the other
        rows with its own, the clearest first."""
        given = int(self.codes[row]) if self.columns else -1
        if suggested in (-1, given):
            return []
        said = []
        for name, words, found, counts in self.columns:
            mine = found.indices[found.indptr[row] : found.indptr[row + 1]]
            theirs = (counts[suggested, mine] + 0.5) / (self.sizes[suggested] + 1)
            own = (counts[given, mine] - 0.5) / self.sizes[given]  # the row itself is no witness
            times = theirs / np.maximum(own, 1e-12)
            clear = np.flatnonzero((times >= TIMES) & (counts[suggested, mine] >= LEAST))
            clear = mine[clear[np.lexsort((mine[clear], -times[clear]))]]
            if len(clear):
                said.append({"column": name, "words": [str(words[j]) for j in clear[:MOST]]})
        return said
