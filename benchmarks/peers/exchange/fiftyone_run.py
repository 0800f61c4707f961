"""A file of `datassay export --to fiftyone` as FiftyOne's importer reads it, without its database: JSON of what was seen.

python fiftyone_run.py folder        a folder with samples.csv and pictures/
"""

import json
import sys
from pathlib import Path

import fiftyone as fo
from fiftyone.utils.csv import CSVDatasetImporter

folder = Path(sys.argv[1])


def samples(**how: object) -> list[dict]:
    importer = CSVDatasetImporter(labels_path=str(folder / "samples.csv"), data_path=str(folder / "pictures"), **how)
    with importer:
        return [one.to_dict() for one in importer]


plain = samples()
fields = {
    "ground_truth": lambda value: fo.Classification(label=value),
    "predictions": lambda value: fo.Classification(label=value),
    "mistakenness": float,
    "datassay_rank": int,
}
typed = sorted(samples(fields=fields), key=lambda one: one["datassay_rank"])
print(
    json.dumps(
        {
            "version": fo.__version__,
            "samples": len(plain),
            "without `fields` the probability is": type(plain[0]["mistakenness"]).__name__,
            "with `fields` it is": type(typed[0]["mistakenness"]).__name__,
            "in the order of the file": [one["datassay_rank"] for one in samples(fields=fields)] == list(range(1, len(plain) + 1)),
            "every picture is there": all(Path(one["filepath"]).is_file() for one in plain),
            "the first suspect": [
                str(Path(typed[0]["filepath"]).relative_to(folder / "pictures")), typed[0]["ground_truth"]["label"],
                typed[0]["predictions"]["label"],
            ],
        }
    )
)  # fmt: skip
