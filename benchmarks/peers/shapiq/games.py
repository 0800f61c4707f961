"""shapiq's estimates of Shapley values of games that are given, for adjusted.py: a list of calls as JSON, and a line of JSON for each.

python games.py games.npz values.npz '[["pairs", "KernelSHAP", 1000, 0], ...]'
"""

import json
import sys
import time
import warnings

import numpy as np
import shapiq


def worth_of(game, held):
    """Coalitions (c, n) to their worth (c,)."""
    if game.endswith("pairs"):
        w, W = held[f"{game} w"], held[f"{game} W"]
        return lambda keep: keep @ w + ((keep @ W) * keep).sum(1)
    if game == "airport":
        costs = held["airport costs"]
        return lambda keep: (keep * costs).max(1)
    a = held["saturating a"]
    return lambda keep: 1 - np.exp(-keep @ a)


def main(source, target, calls):
    warnings.filterwarnings("ignore")
    held, found = np.load(source), {}
    for game, name, evaluations, seed in json.loads(calls):
        worth = worth_of(game, held)
        n = int(held["n"])
        start = time.process_time()
        by = getattr(shapiq, name)(n=n, random_state=seed)
        said = by.approximate(evaluations, lambda keep, worth=worth: worth(np.atleast_2d(keep).astype(float)))
        seconds = time.process_time() - start
        found[f"{game} {name} {evaluations} {seed}"] = said.get_n_order_values(1)
        print(json.dumps([game, name, evaluations, seed, seconds]), flush=True)
    np.savez(target, **found)


main(*sys.argv[1:])
