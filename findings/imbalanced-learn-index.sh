#!/usr/bin/env bash
# imbalanced-learn 0.14.2: RandomUnderSampler keeps the index of a frame, TomekLinks, RandomOverSampler and SMOTE replace it by 0, 1, ...
#
# Values, weights and notes on rows go by the index. Guess before it was run: fit_resample numbers the rows anew in every sampler, since
# what it gives are new rows, and scikit-learn's pipelines don't know an index.
# Seen: it depends on the sampler. One that only draws rows away keeps their labels; the others number the rows anew, TomekLinks also where it
# drops none, and the rows that were there before as well. Where the index holds numbers, values joined by it after those are other rows'
# values, without an error: here none of 8 rows finds its own.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check imbalanced-learn==0.14.2 scikit-learn==1.9.1 pandas==3.1.1
cd "$folder"
cat > look.py <<'PY'
import pandas as pd
from imblearn.over_sampling import SMOTE, RandomOverSampler
from imblearn.under_sampling import RandomUnderSampler, TomekLinks

ids = [7, 6, 5, 4, 3, 2, 1, 0]
frame = pd.DataFrame({"x": [0.0, 0.4, 0.9, 1.5, 2.2, 8.0, 8.5, 9.1]}, index=ids)
label = pd.Series(["no"] * 5 + ["yes"] * 3, index=ids)
value = pd.Series(frame["x"] * 10, index=ids)  # of each row, by its id
for sampler in (RandomUnderSampler(random_state=0), TomekLinks(), RandomOverSampler(random_state=0), SMOTE(k_neighbors=2, random_state=0)):
    new, _ = sampler.fit_resample(frame, label)
    there = new[new["x"].isin(frame["x"])].drop_duplicates()
    joined = value.reindex(there.index)
    right = (joined == there["x"] * 10).sum()
    print(f"{type(sampler).__name__}: index {type(new.index).__name__}, {right} of {len(there)} rows find their own value by it")
PY
venv/bin/python -W ignore look.py | tee seen.txt
cat > expected.txt <<'TXT'
RandomUnderSampler: index Index, 6 of 6 rows find their own value by it
TomekLinks: index RangeIndex, 0 of 8 rows find their own value by it
RandomOverSampler: index RangeIndex, 0 of 8 rows find their own value by it
SMOTE: index RangeIndex, 0 of 8 rows find their own value by it
TXT
diff expected.txt seen.txt
echo "as described"
