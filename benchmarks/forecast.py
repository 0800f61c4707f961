"""What `explain` forecasts for a linear model without its strongest rows, beside what a model trained without them says.

    python benchmarks/forecast.py                                         # half a minute

Five data sets of scikit-learn and generated ones, 300 rows (wine 150), answers for two validation rows and for all of them, without the 5,
25 and 60 rows that speak most for them. "step": one Newton step without all of them; "sum": their scores, added. Both as a share of what
the answer really loses. Writes ``benchmarks/out/forecast.md``.
"""

import numpy as np
from cg_score import OUT, markdown

import datassay as da

SETS = {"wine": (150, 28), "breast-cancer": (300, 60), "digits": (300, 60), "2dplanes": (300, 60), "diabetes": (300, 60)}


def main() -> None:
    lines = []
    for name, (train, val) in SETS.items():
        data = da.datasets.drawn(name, train=train, val=val, test=0, seed=0).data
        for query in (3, 10, "validation"):
            for removed in (5, 25, 60):
                found = da.explain(data, query=query, verify=True, remove=removed)
                lost = found.stats["verified"]["before"] - found.stats["verified"]["after"]
                step, added = found.stats["forecast"]["lost"] / lost, float(np.sort(found.scores)[-removed:].sum()) / lost
                lines.append([name, query, removed, f"{lost:.3g}", step, added])
                print(*lines[-1], flush=True)
    text = markdown(
        ["set", "answer", "rows", "lost", "step", "sum"], [[*line[:4], f"{line[4]:.2f}", f"{line[5]:.2f}"] for line in lines]
    )
    steps, sums = (np.array([line[i] for line in lines if line[0] != "diabetes"]) for i in (4, 5))
    for what, share in (("step", steps), ("sum", sums)):
        text += (
            f"\nlogistic regressions, {what}: from {share.min():.2f} to {share.max():.2f}, median {np.median(share):.2f}; within a "
            f"tenth in {(abs(share - 1) <= 0.1).sum()} of {len(share)}, within a third in {(abs(share - 1) <= 1 / 3).sum()}"
        )
    print(text)
    OUT.mkdir(exist_ok=True)
    (OUT / "forecast.md").write_text(text + "\n")


if __name__ == "__main__":
    main()
