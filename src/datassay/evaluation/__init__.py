"""Tasks whose answers are known, and how well values do on them."""

from datassay.evaluation.bench import Evaluation, evaluate
from datassay.evaluation.detection import detection
from datassay.evaluation.dynamics import by_tenths, kernel_velocity, levels
from datassay.evaluation.planting import plant, plant_wrong_labels
from datassay.evaluation.tasks import TASKS

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
