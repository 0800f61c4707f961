"""What label-studio-sdk says of tasks and a labelling configuration: its own check of every prediction, for label_studio.py.

python check.py tasks.json tasks.xml
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

from label_studio_sdk.label_interface import LabelInterface

tasks = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
interface = LabelInterface(Path(sys.argv[2]).read_text(encoding="utf-8"))
interface.validate()
predictions = [one for task in tasks for one in task.get("predictions", [])]
refused = [errors for one in predictions if (errors := interface.validate_prediction(one, return_errors=True))]
other = json.loads(json.dumps(predictions[0]))  # what must be refused: a choice that the form lacks, a score above 1
other["result"][0]["value"]["choices"] = ["none of these"]
high = json.loads(json.dumps(predictions[0])) | {"score": 1.5}
print(
    json.dumps(
        {
            "predictions": len(predictions),
            "refused": refused,
            "refuses": [bool(interface.validate_prediction(one, return_errors=True)) for one in (other, high)],
            "versions": {name: version(name) for name in ("label-studio", "label-studio-sdk")},
        }
    )
)
