#!/usr/bin/env bash
# label-studio-sdk 2.1.2: JSON_MIN and CSV list the answers to a task from the newest to the oldest, so the last line is the first opinion
#
# Somebody answers a task, and later again, otherwise; Label Studio keeps both. Whoever wants the answer that holds takes the last line of each
# task and person (pandas: drop_duplicates(keep="last")). Guess before it was run: the lines come as the annotations stand in the full JSON,
# which the server writes from the oldest to the newest.
# Seen: the converter turns them around, in JSON_MIN, CSV and TSV alike, and keep="last" keeps what was changed since. It goes by created_at,
# so an old answer that was edited later still stands last. Sort by updated_at.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check label-studio-sdk==2.1.2 pandas==3.1.1
cd "$folder"
cat > look.py <<'PY'
import json

import pandas as pd
from label_studio_sdk.converter import Converter

FORM = """<View><Text name="text" value="$text"/><Choices name="kind" toName="text" choice="single-radio">
<Choice value="cat"/><Choice value="dog"/></Choices></View>"""


def answer(number, kind, created, updated):
    result = {"id": "a", "type": "choices", "from_name": "kind", "to_name": "text", "value": {"choices": [kind]}}
    day = "2026-03-{:02}T10:00:00.000000Z".format
    return {"id": number, "completed_by": 1, "result": [result], "was_cancelled": False, "ground_truth": False,
            "created_at": day(created), "updated_at": day(updated), "lead_time": 2.0}


tasks = [
    {"id": 1, "data": {"text": "first a cat, on second thoughts a dog"}, "annotations": [answer(1, "cat", 1, 1), answer(2, "dog", 2, 2)]},
    {"id": 2, "data": {"text": "the first answer was edited last"}, "annotations": [answer(3, "dog", 1, 3), answer(4, "cat", 2, 2)]},
]
with open("full.json", "w") as file:
    json.dump(tasks, file)
for form in ("JSON_MIN", "CSV", "TSV"):
    Converter(FORM, project_dir=None).convert("full.json", f"out.{form}", form, is_dir=False)
rows = {
    "full JSON": pd.DataFrame([
        {"id": task["id"], "annotator": a["completed_by"], "kind": a["result"][0]["value"]["choices"][0], "updated_at": a["updated_at"]}
        for task in tasks for a in task["annotations"]
    ]),
    "JSON_MIN": pd.read_json("out.JSON_MIN/result.json"),
    "CSV": pd.read_csv("out.CSV/result.csv"),
    "TSV": pd.read_csv("out.TSV/result.csv", sep="\t"),
}
for form, frame in rows.items():
    last = frame.drop_duplicates(["id", "annotator"], keep="last")["kind"].tolist()
    holds = frame.sort_values("updated_at").drop_duplicates(["id", "annotator"], keep="last").sort_values("id")["kind"].tolist()
    print(f"{form}: {frame['kind'].tolist()}; last lines {last}; last updated {holds}")
PY
venv/bin/python -W ignore look.py 2> errors.txt | tee seen.txt || { cat errors.txt; exit 1; }
cat > expected.txt <<'TXT'
full JSON: ['cat', 'dog', 'dog', 'cat']; last lines ['dog', 'cat']; last updated ['dog', 'dog']
JSON_MIN: ['dog', 'cat', 'cat', 'dog']; last lines ['cat', 'dog']; last updated ['dog', 'dog']
CSV: ['dog', 'cat', 'cat', 'dog']; last lines ['cat', 'dog']; last updated ['dog', 'dog']
TSV: ['dog', 'cat', 'cat', 'dog']; last lines ['cat', 'dog']; last updated ['dog', 'dog']
TXT
diff expected.txt seen.txt
echo "as described"
