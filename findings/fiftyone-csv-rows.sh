#!/usr/bin/env bash
# fiftyone 1.22.1: CSVDataset takes one row a picture, the last, and sorts by path; a list of suspects comes in another order, and shorter
#
# A file of suspects has a row for each doubtful label, the worst first; where two people labelled a picture, two rows. Guess before it was
# run: each row becomes a sample, in the order of the file; of two rows of one picture both are there, or the second is refused.
# Seen: rows are kept in a dictionary by path, so that a later row takes the place of an earlier one without a word, and the samples come
# sorted by path, whatever the order of the file. Values are text unless `fields` names a type, and text sorts 0.95 below 2e-05. Give the
# rank as a column with its type, sort by it, and keep two opinions of a picture in two columns.
# Only the importer is asked, which needs no database.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check fiftyone==1.22.1
cd "$folder"
mkdir home pictures
cat > look.py <<'PY'
from pathlib import Path

from PIL import Image
from fiftyone.utils.csv import CSVDatasetImporter

for name in ("a", "b", "c"):
    Image.new("RGB", (8, 8), "red").save(f"pictures/{name}.png")
Path("suspects.csv").write_text(
    "filepath,ground_truth,annotator,mistakenness,rank\n"
    "c.png,cat,one,0.95,1\n"
    "b.png,dog,one,0.5,2\n"
    "b.png,cat,two,0.4,3\n"
    "a.png,dog,one,2e-05,4\n"
)


def samples(**how):
    importer = CSVDatasetImporter(labels_path="suspects.csv", data_path="pictures", **how)
    with importer:
        return list(importer)


plain = samples()
print("4 rows,", len(plain), "samples:", [Path(one.filepath).name for one in plain])
print("b.png:", plain[1]["ground_truth"], "by", plain[1]["annotator"])
print("most mistaken first, as text:", [Path(one.filepath).name for one in sorted(plain, key=lambda one: one["mistakenness"], reverse=True)])
typed = samples(fields={"ground_truth": None, "mistakenness": float, "rank": int})
print("by rank, a number:", [Path(one.filepath).name for one in sorted(typed, key=lambda one: one["rank"])])
PY
HOME="$folder/home" FIFTYONE_DO_NOT_TRACK=true venv/bin/python -W ignore look.py 2> errors.txt | tee seen.txt || { cat errors.txt; exit 1; }
cat > expected.txt <<'TXT'
4 rows, 3 samples: ['a.png', 'b.png', 'c.png']
b.png: cat by two
most mistaken first, as text: ['a.png', 'c.png', 'b.png']
by rank, a number: ['c.png', 'b.png', 'a.png']
TXT
diff expected.txt seen.txt
echo "as described"
