"""`import datassay as da` is all that is needed, and is light."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import datassay as da

HEAVY = ("scipy.stats", "pandas", "pyarrow", "torch", "sklearn")
FUNCTIONS = {m.function for m in da.methods.METHODS.values()}


NO_TORCH = """
import sys
from importlib.abc import MetaPathFinder
class Finder(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
sys.meta_path.insert(0, Finder())
"""


def fresh(program):
    """What a program says in an interpreter of its own."""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)


def declared():
    """Names that type checkers and editors are told of."""
    tree = ast.parse(Path(da.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return [(node.module, alias.name, alias.asname) for node in imports for alias in node.names]


def test_import_is_light():
    done = fresh(f"import datassay, sys; print([m for m in {HEAVY} if m in sys.modules], 'numpy' in sys.modules)")
    assert done.stdout.split("\n")[0] == "[] False", done.stderr


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_the_command_line_starts_light(option):
    done = fresh(
        f"import sys; sys.argv = ['datassay', {option!r}]\nfrom datassay.cli import main\n"
        f"try:\n    main()\nexcept SystemExit as end:\n    print(end.code, [m for m in {HEAVY} if m in sys.modules])"
    )
    assert done.stdout.strip().split("\n")[-1] == "0 []", done.stderr


def test_types_and_run_time_name_the_same():
    names = [name for _, name, _ in declared()]
    assert sorted(names) == sorted(set(names))
    assert set(names) == {name for name in dir(da) if not name.startswith("_")}
    for module, name, alias in declared():
        assert alias in (None, name)
        found = getattr(da, name)
        assert found is getattr(sys.modules[module], name)


def test_every_method_is_a_function():
    for name, method in da.methods.METHODS.items():
        function = getattr(da, method.function)
        assert function is method.load()
        assert method.function == name.replace("-", "_")
    assert len(FUNCTIONS) == len(da.methods.METHODS)
    assert set(dir(da)) >= FUNCTIONS | set(da.__all__)
    data = da.Dataset(np.random.default_rng(0).normal(size=(20, 2)), ["a", "b"] * 10)
    np.testing.assert_array_equal(da.cg_score(data, ridge=0).scores, da.value(data, ridge=0).scores)


def test_no_name_is_that_of_a_module():
    here = Path(da.__file__).parent
    modules = {p.stem for p in here.glob("*.py")} | {p.parent.name for p in here.glob("*/__init__.py")}
    for name in dir(da):
        if not name.startswith("_") and name in modules:
            assert inspect.ismodule(getattr(da, name)), name


def test_star_brings_what_needs_no_extra():
    done = fresh(f"{NO_TORCH}from datassay import *\nprint(value.__name__, Dataset.__name__)")
    assert done.stdout.strip() == "value Dataset", done.stderr


@pytest.mark.parametrize("name", ["dvgs", "el2n", "lossval", "dvrl", "Recipe", "network_features"])
def test_a_missing_torch_is_said(name):
    done = fresh(f"{NO_TORCH}import datassay as da\nda.{name}")
    assert done.stderr.strip().split("\n")[-1] == f"ImportError: {name} needs torch: pip install 'datassay[torch]'"


def test_a_missing_torch_is_said_by_value_too():
    done = fresh(f"{NO_TORCH}import datassay as da\nda.value(da.Dataset([[0.], [1.], [0.], [1.]], [0, 1, 0, 1]), 'dvgs')")
    assert done.stderr.strip().split("\n")[-1] == "ImportError: dvgs needs torch: pip install 'datassay[torch]'"


def test_an_unknown_name_is_met_with_a_near_one():
    with pytest.raises(AttributeError, match=r"module 'datassay' has no attribute 'cg_scor'; did you mean 'cg_score'\?"):
        _ = da.cg_scor
    with pytest.raises(AttributeError, match=r"no attribute 'zzzzzz'\."):
        _ = da.zzzzzz
    assert not hasattr(da, "_private")


def test_types_are_shipped():
    assert (Path(da.__file__).parent / "py.typed").read_bytes() == b""


def test_a_command_has_the_defaults_of_its_function():
    """Or None, with which the function's own is taken."""
    import inspect

    from datassay.commands import choosing, comparing, curating, deciding, valuing

    pairs = [
        (choosing.audit, da.audit), (choosing.plan, da.plan), (comparing.bench, da.evaluate), (curating.curate, da.curate),
        (deciding.check, da.check_sample), (deciding.gain, da.gain), (valuing.report, da.report), (valuing.value, da.value),
    ]  # fmt: skip
    for command, function in pairs:
        said, own = (inspect.signature(one).parameters for one in (command, function))
        for name in set(said) & set(own):
            assert said[name].default in (own[name].default, None, inspect.Parameter.empty), (command.__name__, name)
