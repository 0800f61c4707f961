"""Tasks that tell how good values are."""

from datassay.evaluate.detection import detection, plant_wrong_labels
from datassay.evaluate.dynamics import kernel_velocity, levels

__all__ = ["detection", "kernel_velocity", "levels", "plant_wrong_labels"]
