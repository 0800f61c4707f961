"""datassay: what each training row is worth, and which rows are wrong."""

from datassay import methods
from datassay.audit import audit
from datassay.data import Dataset
from datassay.errors import DataError
from datassay.evaluate import evaluate
from datassay.methods import value
from datassay.plan import plan
from datassay.readers import read
from datassay.report import report
from datassay.values import Values

__all__ = ["DataError", "Dataset", "Values", "audit", "evaluate", "methods", "plan", "read", "report", "value"]
__version__ = "0.1.0"
