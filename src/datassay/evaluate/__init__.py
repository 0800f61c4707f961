"""Tasks whose answers are known, and how well values do on them."""

from datassay.evaluate.detection import detection, plant, plant_wrong_labels
from datassay.evaluate.dynamics import by_tenths, kernel_velocity, levels
from datassay.evaluate.evaluation import Evaluation, evaluate
from datassay.evaluate.tasks import TASKS

__all__ = [
    "TASKS",
    "Evaluation",
    "by_tenths",
    "detection",
    "evaluate",
    "kernel_velocity",
    "levels",
    "plant",
    "plant_wrong_labels",
]
