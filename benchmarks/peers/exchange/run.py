"""Files of `datassay export` as the libraries that they are for read them, for exchange.py: JSON of what was seen.

python run.py folder        a folder with train.csv (key, a, b, c, label, the label a number), and what was exported
"""

import json
import sys
import uuid
import warnings
from importlib.metadata import version
from pathlib import Path
from unittest.mock import MagicMock

import argilla
import datasets
import numpy as np
import pandas as pd
from argilla.records._io import GenericIO, JsonIO
from argilla.records._mapping import IngestedRecordMapper
from cleanlab import Datalab
from cleanlab.classification import CleanLearning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

warnings.simplefilter("ignore")
folder = Path(sys.argv[1])
train = pd.read_csv(folder / "train.csv")
X, y = train[["a", "b", "c"]].to_numpy(), train["label"].to_numpy()
seen = {"versions": {name: version(name) for name in ("cleanlab", "datasets", "argilla")}}

# cleanlab: the columns of Datalab, and a model that leaves the flagged rows out by their place
ours = pd.read_csv(folder / "issues.csv")
p = cross_val_predict(LogisticRegression(), X, y, cv=5, method="predict_proba")
lab = Datalab(data={"X": X, "y": y}, label_name="y", verbosity=0)
lab.find_issues(pred_probs=p, issue_types={"label": {}})
theirs = lab.get_issues("label")
fitted = CleanLearning(LogisticRegression()).fit(X, y, label_issues=ours)
seen["cleanlab"] = {
    "columns, with types, that Datalab has and the file lacks": [
        name for name in theirs.columns if name not in ours.columns or ours[name].dtype != theirs[name].dtype
    ],
    "given labels are the same": bool((ours["given_label"] == theirs["given_label"]).all()),
    "flagged by Datalab, by the file, by both": [
        int(flags.sum()) for flags in (theirs["is_label_issue"], ours["is_label_issue"], theirs["is_label_issue"] & ours["is_label_issue"])
    ],
    "ids left out by CleanLearning.fit(label_issues=) are those flagged": ours["id"][
        fitted.get_label_issues()["is_label_issue"].to_numpy()
    ].tolist() == ours["id"][ours["is_label_issue"]].tolist(),
}  # fmt: skip

# datasets: beside the rows, by their place
rows = datasets.load_dataset("csv", data_files=str(folder / "train.csv"), split="train", cache_dir=str(folder / "cache"))
side = datasets.load_dataset(
    "parquet", data_files=str(folder / "side.parquet"), split="train", cache_dir=str(folder / "cache")
)
both = datasets.concatenate_datasets([rows, side], axis=1)
first = both.sort("rank")[0]
seen["datasets"] = {
    "columns": list(side.features),
    "ids are the keys, row by row": both["id"][:] == both["key"][:],
    "rank 1 has the lowest score": first["score"] == min(side["score"]),
}

# argilla: its own readers of a file of records, without a server; an answer of one person for each status
argilla.Argilla._default_client = MagicMock()
records = JsonIO._records_from_json(folder / "records.json")  # what dataset.records.from_json reads
settings = argilla.Settings(
    fields=[argilla.TextField("text")],
    questions=[argilla.LabelQuestion("label", labels=[str(c) for c in np.unique(y)])],
    metadata=[
        argilla.TermsMetadataProperty("given_label"), argilla.TermsMetadataProperty("flagged"),
        argilla.FloatMetadataProperty("datassay_score"), argilla.IntegerMetadataProperty("datassay_rank"),
        argilla.FloatMetadataProperty("probability_wrong"),
    ],
)  # fmt: skip
settings.validate()
raw = json.loads((folder / "records.json").read_text())
dataset = MagicMock(settings=settings, schema=settings.schema, questions=settings.questions)
logged = IngestedRecordMapper(dataset=dataset, user_id=uuid.UUID(int=1))(
    raw[0]
)  # what dataset.records.log makes of the same
for one, status in zip(records, ("submitted", "draft", "discarded"), strict=False):
    one.responses.add(argilla.Response("label", "0", user_id=uuid.UUID(int=1), status=status))
records[0].responses.add(argilla.Response("label", "1", user_id=uuid.UUID(int=2), status="submitted"))
(folder / "flat.json").write_text(json.dumps(GenericIO.to_list(records, flatten=True), default=str))
names = {"text", "label", *raw[0]["metadata"]}
seen["argilla"] = {
    "records read by from_json": len(records),
    "with all fields, metadata and suggestions": all(
        {*one.fields, *(s.question_name for s in one.suggestions), *one.metadata} == names for one in records
    ),
    "every name is in the settings": names == set(settings.schema),
    "fields that records.log finds in the same": len(logged.fields),
}
print(json.dumps(seen))
