"""The text that identifies a model and its options in a store of trainings."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy import ndarray


def described(model: Any) -> str:
    """Class and options as text; functions by their code, since their addresses differ from run to run."""
    options = {name: coded(value) for name, value in sorted(model.get_params(deep=True).items())}
    return f"{type(model).__module__}.{type(model).__qualname__} {options!r}"


def coded(value: Any) -> Any:
    if isinstance(value, ndarray):  # repr leaves digits and entries out
        return f"{value.dtype} {value.shape} {hashlib.blake2b(np.ascontiguousarray(value).tobytes(), digest_size=8).hexdigest()}"
    if hasattr(value, "get_params"):  # its options stand beside it, by longer names
        return f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, (list, tuple)):
        return [coded(part) for part in value]
    code = getattr(value, "__code__", None)
    if code is None:
        return value
    held = [coded(cell.cell_contents) for cell in value.__closure__ or ()]
    text = f"{code.co_code!r} {code.co_consts!r} {code.co_names!r} {value.__defaults__!r} {held!r}"
    return f"{value.__module__}.{value.__qualname__} {hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"
