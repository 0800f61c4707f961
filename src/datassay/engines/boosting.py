"""Gradient-boosted trees as sums of leaf values, and what each row did to them (BoostIn: Brophy, Hammoudeh & Lowd, JMLR 2023).

    value of leaf l = -rate G_l / (H_l + l2)        G_l, H_l: sums of the gradients g_i and Hessians h_i of the rows in it
    d value / d weight of row i in l = -(rate g_i + value h_i) / (H_l + l2)

BoostIn: the answer for row z owes to row i the sum over trees, where both are in one leaf, of that times the derivative of the answer in
what is predicted of z before the tree. The trees' splits, and the gradients that later trees are given, stay as they are.

All that is needed of a library is in which leaf of which tree every row lies: values are computed anew, and compared with the library's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.special import expit, softmax

Answer = Callable[[ndarray], ndarray]  #: (m, K) predictions to the derivative (m, K) of an answer in them


class Trees(NamedTuple):
    """Of t iterations with K trees each: in which leaf, from 0, lie n rows, and m rows that are asked about."""

    leaves: Int[ndarray, "t K n"]
    asked: Int[ndarray, "t K m"]
    base: Float[ndarray, " K"]  #: predicted before the first tree
    rate: float
    l2: float = 0.0
    scale: float = 1.0  #: by which the library multiplies Hessians of several classes
    still: Bool[ndarray, "t K"] | None = None  #: trees of one leaf whose value was set to 0


class Boosted(NamedTuple):
    """What the trees predict, and what rows did."""

    outputs: Float[ndarray, "n K"]
    asked: Float[ndarray, "m K"]
    total: Float[ndarray, " n"]  #: mean over the rows that are asked about
    each: Float[ndarray, "n m"] | None  #: for each of them


def derivatives(
    f: Float[ndarray, "n K"], codes: ndarray, classes: int
) -> tuple[Float[ndarray, "n K"], Float[ndarray, "n K"]]:
    """Gradients and Hessians of the loss in what is predicted: half a squared error, or the cross-entropy of one or K outputs.

    >>> derivatives(np.array([[0.0], [2.0]]), np.array([1.0, 5.0]), 0)[0].ravel().tolist()
    [-1.0, -3.0]
    >>> [part.ravel().tolist() for part in derivatives(np.zeros((1, 1)), np.array([1]), 2)]
    [[-0.5], [0.25]]
    """
    if not classes:
        return f - codes[:, None], np.ones_like(f)
    if f.shape[1] == 1:
        p = expit(f)
        return p - codes[:, None], p * (1 - p)
    p = softmax(f, axis=1)
    return p - (np.arange(classes) == codes[:, None]), p * (1 - p)


def boostin(trees: Trees, codes: ndarray, classes: int, answer: Answer, *, keep: bool = False) -> Boosted:
    """What n rows did to m answers, in time linear in the trees and the rows; with ``keep`` for each answer.

    Examples
    --------
    >>> trees = Trees(np.array([[[0, 0, 1]]]), np.array([[[0]]]), np.zeros(1), rate=1.0)
    >>> found = boostin(trees, np.array([1.0, 3.0, 9.0]), 0, lambda f: np.ones((1, 1)))       # a leaf of 1 and 3, which says 2
    >>> found.asked.tolist(), found.total.tolist()
    ([[2.0]], [-0.5, 0.5, 0.0])
    """
    (t, K, n), m = trees.leaves.shape, trees.asked.shape[2]
    f, q = np.tile(trees.base, (n, 1)).astype(float), np.tile(trees.base, (m, 1)).astype(float)
    total = np.zeros(n)
    each = np.zeros((n, m)) if keep else None
    scale = trees.scale if classes and K > 1 else 1.0
    for step in range(t):
        g, h = derivatives(f, codes, classes)
        h = h * scale
        towards = answer(q)
        grown, asked = np.empty_like(f), np.empty_like(q)
        for k in range(K):
            at, where = trees.leaves[step, k], trees.asked[step, k]
            size = int(max(at.max(initial=0), where.max(initial=0))) + 1
            G = np.bincount(at, g[:, k], size)
            H = np.bincount(at, h[:, k], size) + trees.l2
            value = -trees.rate * np.divide(G, H, out=np.zeros(size), where=H > 0)
            if trees.still is not None and trees.still[step, k]:
                grown[:, k], asked[:, k] = 0.0, 0.0
                continue
            slope = -(trees.rate * g[:, k] + value[at] * h[:, k])
            slope = np.divide(slope, H[at], out=np.zeros(n), where=H[at] > 0)
            total += slope * np.bincount(where, towards[:, k], size)[at] / m
            if each is not None:
                by_leaf = np.zeros((size, m))
                by_leaf[where, np.arange(m)] = towards[:, k]
                each += slope[:, None] * by_leaf[at]
            grown[:, k], asked[:, k] = value[at], value[where]
        f += grown
        q += asked
    return Boosted(f, q, total, each)


def leaves_of_nodes(nodes: ndarray, X: ndarray) -> Int[ndarray, " n"]:
    """In which leaf of a tree of scikit-learn's histogram gradient boosting (its nodes) the rows lie: the position of its node.

    Raises
    ------
    ValueError
        It splits on categories.
    """
    if nodes["is_categorical"].any():
        raise ValueError("a tree splits on categories")
    at = np.zeros(len(X), np.int64)
    going = np.flatnonzero(~nodes["is_leaf"][at].astype(bool))
    while len(going):
        node = at[going]
        x = X[going, nodes["feature_idx"][node]]
        left = np.where(np.isnan(x), nodes["missing_go_to_left"][node].astype(bool), x <= nodes["num_threshold"][node])
        at[going] = np.where(left, nodes["left"][node], nodes["right"][node])
        going = going[~nodes["is_leaf"][at[going]].astype(bool)]
    return at
