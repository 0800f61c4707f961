#!/usr/bin/env bash
# Hugging Face datasets 5.2.0: casting a column of classes to the same names in another order keeps the numbers, so every label changes.
#
# Two annotators' files have the classes (cat, dog) and (dog, cat); to bring them to one order one casts the column. Guess before it was
# run: the cast goes by the names, as pandas' does (cat.set_categories), or is refused, as concatenating the two is.
# Seen: no word, and each row has the name of the other class: rows that were "cat" are "dog". align_labels_with_mapping goes by names.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check datasets==5.2.0 pandas==3.1.1 pyarrow==26.0.1
cd "$folder"
cat > look.py <<'PY'
import pandas as pd
from datasets import ClassLabel, Dataset, concatenate_datasets

said = ["cat", "dog", "cat", "cat"]
rows = Dataset.from_dict({"weight": [4, 25, 3, 5], "kind": said}).class_encode_column("kind")
swapped = ClassLabel(names=["dog", "cat"])


def names(data):
    return data.features["kind"].int2str(data["kind"][:])


print("as given:", names(rows))
print("pandas:", pd.Series(said, dtype=pd.CategoricalDtype(["cat", "dog"])).cat.set_categories(["dog", "cat"]).tolist())
print("cast_column:", names(rows.cast_column("kind", swapped)))
print("align_labels_with_mapping:", names(rows.align_labels_with_mapping({"dog": 0, "cat": 1}, "kind")))
try:
    concatenate_datasets([rows, rows.cast_column("kind", swapped)])
    print("concatenate_datasets: done")
except ValueError as error:
    print("concatenate_datasets:", type(error).__name__)
PY
HF_HUB_OFFLINE=1 HF_HOME="$folder/home" venv/bin/python -W ignore look.py 2>/dev/null | tee seen.txt
cat > expected.txt <<'TXT'
as given: ['cat', 'dog', 'cat', 'cat']
pandas: ['cat', 'dog', 'cat', 'cat']
cast_column: ['dog', 'cat', 'dog', 'dog']
align_labels_with_mapping: ['cat', 'dog', 'cat', 'cat']
concatenate_datasets: ValueError
TXT
diff expected.txt seen.txt
echo "as described"
