"""Data Banzhaf (Wang & Jia, AISTATS 2023): what a row adds to a random half of the other rows.

    phi_i = mean over all S without i of  v(S + i) - v(S)        v(S): utility of the model trained on S
    weighted (Li & Yu, NeurIPS 2023): every other row is in S with probability p instead of 1/2

    msr         mean of v over drawn subsets with row i, less that over those without it: every subset serves every row; here with
                how v grows with the size taken out before
    ridge       regression of v on all rows' presence at once; see engines.semivalues

Differs from the paper: ridge regression by default, with how v grows with the size taken out; in few trainings it finds several times
as much. msr is the paper's, exact when all subsets are drawn.
"""

from __future__ import annotations

from typing import Any, Literal, Unpack

from datassay.checks import Count, Share
from datassay.data.dataset import Dataset
from datassay.engines.designs import Inclusion
from datassay.engines.semivalues import banzhaf_law
from datassay.methods.definition import SEMIVALUES, Finding, method
from datassay.subsets.semivalues import semivalue
from datassay.subsets.study import Drawn
from datassay.subsets.utilities import other_utility, utility_of


@method("banzhaf", SEMIVALUES, renamed={"p": "inclusion", "by": "estimator"})
def banzhaf(
    data: Dataset,
    model: Any = None,
    *,
    n_models: Count = 1000,
    inclusion: Share = 0.5,
    standardise: bool = True,
    utility: Any = None,
    estimator: Literal["ridge", "msr", "msr-adjusted"] = "ridge",
    **shared: Unpack[Drawn],
) -> Finding:
    """Banzhaf value of every row, from trainings on random subsets.

    Parameters
    ----------
    inclusion
        Probability with which a row is in a subset.
    estimator
        "ridge" or "msr", see above; "msr-adjusted": the regression's own values, and msr of what it leaves, from pairs of a subset and
        its complement (with ``inclusion`` 1/2): unbiased (Witter, Liu & Musco, NeurIPS 2025).
    reuse
        Train nothing: use all trainings of this model and these rows that the store has. Subsets that were drawn with other
        probabilities are weighted; ``stats["effective_trainings"]`` says how many with this one they are worth.

    Returns
    -------
    Values
        scores = the column ``banzhaf`` (n,), high = worth keeping. Flagged: below 0. Suggested label: by models of the other folds.

    Examples
    --------
    >>> import datassay as da
    >>> data, wrong = da.plant(da.datasets.drawn("wine", train=60, val=60, test=20).data, "uniform", 0.1, seed=1)
    >>> values = da.value(data, method="banzhaf", n_models=400)
    >>> int(wrong.sum()), int(wrong[values.suspects(6).index].sum())   # wrong labels; those among the six lowest scores
    (6, 6)
    """
    return semivalue(
        "banzhaf",
        data,
        model,
        n_models,
        utility_of(data, utility, "banzhaf"),
        Inclusion("grid", (float(inclusion),)),
        lambda n: banzhaf_law(n, inclusion),
        shared,
        estimator=estimator,
        standardise=standardise,
        others=other_utility(data, utility, "banzhaf"),
    )
