"""Semivalues of games whose values are known: regression-adjusted estimates beside the default and beside permutations.

    python benchmarks/adjusted.py
    python benchmarks/adjusted.py --players 1000 --evaluations 4000 --draws 3
    python benchmarks/adjusted.py --players 101 --shapiq .venv-shapiq/bin/python      and shapiq's estimates of the same games

For each game and number of evaluations the root mean square error over players and draws, in standard deviations of the true values, by
``estimator="ridge"`` (the default), ``"msr-adjusted"`` and, for Shapley, whole permutations; and the share of 95 % intervals (1.96 standard
errors) of the adjusted values that hold the truth. Games: pairs (players, and random effects of two of them together), strong pairs (four
times as large), airport (the largest cost counts), saturating (1 - exp(-sum); its truth is an adjusted estimate from 40,000 evaluations
of another seed). Nothing is trained. shapiq's environment is made from benchmarks/peers/shapiq/requirements.txt; its estimates of Shapley
values, of the same games, draws and numbers of evaluations, have a table of their own, with CPU seconds of one estimate. Writes
``benchmarks/out/adjusted.md``.
"""

import argparse
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy import ndarray

from datassay.engines import semivalues
from datassay.engines.designs import Inclusion
from datassay.engines.semivalues import banzhaf_law, shapley_law
from datassay.evaluation import games

OUT = Path(__file__).parent / "out"
Worth = Callable[[ndarray], ndarray]
PAIRED = {"shapley": Inclusion("beta", (0.5, 0.5)), "banzhaf": Inclusion("grid", (0.5,))}
USUAL = {"shapley": Inclusion("uniform", (0.1, 0.9)), "banzhaf": Inclusion("grid", (0.5,))}
THEIRS = ("KernelSHAP", "PermutationSamplingSV", "UnbiasedKernelSHAP", "StratifiedSamplingSV", "OwenSamplingSV", "SVARM")
LAWS = {"shapley": shapley_law, "banzhaf": banzhaf_law}


def parts_of_pairs(n: int, strength: float) -> tuple[ndarray, ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=n), np.triu(rng.normal(size=(n, n)), 1) * strength / np.sqrt(n)


def pairs(n: int, strength: float) -> tuple[Worth, dict[str, ndarray]]:
    w, W = parts_of_pairs(n, strength)
    true = w + (W + W.T).sum(1) / 2
    return lambda keep: keep @ w + ((keep @ W) * keep).sum(1), {"shapley": true, "banzhaf": true}


def costs(n: int) -> ndarray:
    return np.random.default_rng(0).gamma(2.0, 1.0, n)


def rates(n: int) -> ndarray:
    return np.random.default_rng(0).gamma(1.0, 3.0 / n, n)


def airport(n: int) -> tuple[Worth, dict[str, ndarray]]:
    game = games.airport(costs(n))
    return lambda keep: game.worth(keep.astype(bool)), {"shapley": game.shapley, "banzhaf": game.banzhaf}


def saturating(n: int) -> tuple[Worth, dict[str, ndarray]]:
    a = rates(n)

    def worth(keep: ndarray) -> ndarray:
        return 1 - np.exp(-keep @ a)

    true = {}
    for kind in LAWS:
        true[kind] = adjusted(worth, n, kind, 40_000, 12345).value
    return worth, true


def adjusted(worth: Worth, n: int, kind: str, m: int, seed: int) -> semivalues.Estimate:
    drawn = PAIRED[kind].draw(n, seed, 0, m, antithetic=True)
    return found(worth, drawn, n, kind, by="msr-adjusted", pairs=True)


def found(worth: Worth, drawn: object, n: int, kind: str, **how: object) -> semivalues.Estimate:
    keep = drawn.counts.astype(bool)
    ends = tuple(float(one) for one in worth(np.array([[0.0] * n, [1.0] * n])))
    law = semivalues.mixture(n, drawn.p)
    return semivalues.estimate(keep, worth(keep * 1.0), law, LAWS[kind](n), ends=ends, **how)


def permutations(worth: Worth, n: int, m: int, seed: int) -> ndarray:
    rng, each = np.random.default_rng(seed), []
    for _ in range(max(1, m // (n - 1))):
        order = rng.permutation(n)
        keep = np.zeros((n + 1, n))
        for k in range(n):
            keep[k + 1 :, order[k]] = 1
        marginal = np.empty(n)
        marginal[order] = np.diff(worth(keep))
        each.append(marginal)
    return np.mean(each, axis=0)


def of_shapiq(
    python: Path, n: int, truth: dict[str, ndarray], ours: dict[str, float], evaluations: list[int], draws: int
) -> list[str]:
    """Lines of a table: the same errors of shapiq's estimates, in one process of its own."""
    held: dict[str, ndarray] = {"n": np.array(n), "airport costs": costs(n), "saturating a": rates(n)}
    for name, strength in (("pairs", 1.0), ("strong pairs", 4.0)):
        held[f"{name} w"], held[f"{name} W"] = parts_of_pairs(n, strength)
    calls = [[game, by, m, seed] for game in truth for m in evaluations for by in THEIRS for seed in range(draws)]
    with TemporaryDirectory() as folder:
        source, target = Path(folder) / "games.npz", Path(folder) / "values.npz"
        np.savez(source, **held)
        script = Path(__file__).parent / "peers" / "shapiq" / "games.py"
        told = subprocess.run(
            [str(python), str(script), str(source), str(target), json.dumps(calls)], check=True, stdout=subprocess.PIPE, text=True
        ).stdout  # fmt: skip
        seconds = {tuple(line[:4]): line[4] for line in map(json.loads, told.splitlines())}
        with np.load(target) as values:
            found = {name: values[name] for name in values}
    lines = []
    for game, true in truth.items():
        for m in evaluations:
            each = []
            for by in THEIRS:
                off = [found[f"{game} {by} {m} {seed}"] - true for seed in range(draws)]
                took = np.mean([seconds[game, by, m, seed] for seed in range(draws)])
                each.append(f"{np.sqrt(np.mean(np.square(off))) / true.std():.3f} ({took:.2f} s)")
            lines.append(f"| {game} | {n} | {m:,} | {ours[f'{game} {m}']:.3f} | {' | '.join(each)} |")
            print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--players", type=int, action="append")
    parser.add_argument("--evaluations", type=int, action="append")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--shapiq", type=Path, help="the interpreter of an environment with shapiq")
    args = parser.parse_args()
    lines, theirs = [], []
    for n in args.players or [101, 300]:
        every = {"pairs": pairs(n, 1.0), "strong pairs": pairs(n, 4.0), "airport": airport(n), "saturating": saturating(n)}
        found_here: dict[str, float] = {}
        for name, (worth, truth) in every.items():
            for kind, true in truth.items():
                for m in args.evaluations or [1000, 4000]:
                    off: dict[str, list[ndarray]] = {"ridge": [], "adjusted": [], "permutation": []}
                    inside = []
                    for seed in range(args.draws):
                        usual = USUAL[kind].draw(n, seed, 0, m)
                        off["ridge"].append(
                            found(worth, usual, n, kind, by="ridge", standardise=True, errors=False).value - true
                        )
                        one = adjusted(worth, n, kind, m, seed)
                        off["adjusted"].append(one.value - true)
                        inside.append((np.abs(one.value - true) <= 1.96 * one.stderr).mean())
                        if kind == "shapley":
                            off["permutation"].append(permutations(worth, n, m, seed) - true)
                    rms = {how: float(np.sqrt(np.mean(np.square(o)))) / true.std() for how, o in off.items() if o}
                    ours, alone = rms["adjusted"], rms.get("permutation")
                    others = ("", "") if alone is None else (f"{alone:.3f}", f"{ours / alone:.2f}")
                    lines.append(
                        f"| {name} | {kind} | {n} | {m:,} | {rms['ridge']:.3f} | {others[0]} | {ours:.3f} | {ours / rms['ridge']:.2f} | "
                        f"{others[1]} | {np.mean(inside):.3f} |"
                    )
                    print(lines[-1], flush=True)
                    if kind == "shapley":
                        found_here[f"{name} {m}"] = ours
        if args.shapiq:
            shapley = {name: truth["shapley"] for name, (_, truth) in every.items()}
            theirs += of_shapiq(args.shapiq, n, shapley, found_here, args.evaluations or [1000, 4000], args.draws)
    head = "| game | value | players | evaluations | ridge | permutation | adjusted | to ridge | to permutation | intervals hold |"
    OUT.mkdir(exist_ok=True)
    text = "\n".join([head, "|" + " --- |" * 10, *lines]) + "\n"
    if theirs:
        head = f"| game | players | evaluations | adjusted | {' | '.join(f'shapiq, {by}' for by in THEIRS)} |"
        text += "\n" + "\n".join([head, "|" + " --- |" * (4 + len(THEIRS)), *theirs]) + "\n"
    (OUT / "adjusted.md").write_text(text)


if __name__ == "__main__":
    main()
