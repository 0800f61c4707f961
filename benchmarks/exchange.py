"""Files of `datassay export` in the hands of the libraries that they are for: cleanlab, datasets, argilla, FiftyOne; and back.

    python benchmarks/exchange.py                                  # makes peers/.venv-exchange at the first run
    python benchmarks/exchange.py --python other/bin/python        # an environment that is there
    python benchmarks/exchange.py --fiftyone fo/bin/python         # FiftyOne too: an environment with it (a gigabyte), of one's own

150 rows of three classes, 8 labels wrong. Argilla's own readers are asked, no server; Label Studio has label_studio.py. Writes
``benchmarks/out/exchange.md``.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from peers import interpreter
from PIL import Image

import datassay as da
from datassay.decisions.exchange import export, read_answers

OUT = Path(__file__).parent / "out"
RUN = Path(__file__).parent / "peers" / "exchange" / "run.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", type=Path, help="of an environment with cleanlab, datasets and argilla")
    parser.add_argument("--fiftyone", type=Path, help="of an environment with fiftyone")
    args = parser.parse_args()
    python = args.python or interpreter("exchange")
    rng = np.random.default_rng(0)
    true = np.arange(150) % 3
    X = 3 * np.eye(3)[true] + rng.normal(size=(150, 3))
    y = true.copy()
    y[80:88] = (y[80:88] + 1) % 3
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frame = pd.DataFrame(X.round(3), columns=["a", "b", "c"]).assign(label=y)
        frame.insert(0, "key", [f"row-{i}" for i in range(150)])
        frame.to_csv(folder / "train.csv", index=False)
        data = da.read(folder / "train.csv", label="label", id="key")
        values = da.value(data, method="cg-score", progress=False)
        for tool, file in (("cleanlab", "issues.csv"), ("huggingface", "side.parquet"), ("argilla", "records.json")):
            export(values, data, tool, folder / file)
        said = subprocess.run([python, RUN, folder], capture_output=True, text=True)
        if said.returncode:
            sys.exit(said.stderr)
        seen = json.loads(said.stdout.splitlines()[-1])
        found = read_answers(folder / "flat.json", data)
        best = data.ids[np.argsort(values.scores)[0]]
        seen["argilla"]["of a submitted, a draft, a discarded answer and a second person's, decisions"] = len(found)
        seen["argilla"]["all about the first"] = set(found["id"]) == {best}
    if args.fiftyone:
        seen["fiftyone"] = pictures(args.fiftyone)
        seen["versions"]["fiftyone"] = seen["fiftyone"].pop("version")
    lines = [", ".join(f"{name} {number}" for name, number in seen.pop("versions").items()), ""]
    lines += [f"- {tool}, {what}: {value}" for tool, said in seen.items() for what, value in said.items()]
    OUT.mkdir(exist_ok=True)
    (OUT / "exchange.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def pictures(python: Path) -> dict[str, object]:
    """60 pictures in folders of three classes, one in the wrong folder, read by FiftyOne's importer."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for c, kind in enumerate(("cat", "dog", "eel")):
            (folder / "pictures" / kind).mkdir(parents=True)
            for i in range(20):
                shade = np.zeros((12, 12, 3), np.uint8)
                shade[..., c] = 200
                Image.fromarray(shade + rng.integers(0, 50, shade.shape, dtype=np.uint8)).save(
                    folder / "pictures" / kind / f"{i}.png"
                )
        (folder / "pictures" / "cat" / "3.png").rename(folder / "pictures" / "dog" / "33.png")
        data = da.read(folder / "pictures")
        export(da.value(data, method="cg-score", progress=False), data, "fiftyone", folder / "samples.csv")
        said = subprocess.run([python, RUN.with_name("fiftyone_run.py"), folder], capture_output=True, text=True)
    if said.returncode:
        sys.exit(said.stderr)
    return dict(json.loads(said.stdout.splitlines()[-1]))


if __name__ == "__main__":
    main()
