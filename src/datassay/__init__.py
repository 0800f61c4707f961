"""datassay: what each training row is worth, and which rows are wrong."""

from datassay import methods
from datassay.checks import DataError
from datassay.data.dataset import Dataset
from datassay.data.read import read
from datassay.evaluation import evaluate
from datassay.evaluation.audit import audit
from datassay.methods import value
from datassay.planning import plan
from datassay.reporting import report
from datassay.values import Values

__all__ = ["DataError", "Dataset", "Values", "audit", "evaluate", "methods", "plan", "read", "report", "value"]
__version__ = "0.1.0"
