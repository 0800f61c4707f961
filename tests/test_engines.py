import ast
import inspect
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp

import datassay as da
import oracles
from datassay.engines import gp_loo, gram, machine, panels

SRC = Path(panels.__file__).parents[1]


@pytest.mark.parametrize("n", [1, 2, 511, 513, 1100])
def test_gram_is_the_formula(n):
    U = gram.unit_rows(np.random.default_rng(n).normal(size=(n, 5)))
    H = gram.arc_cosine(U)
    G = np.clip(U @ U.T, -1, 1)
    np.fill_diagonal(G, 1)
    np.testing.assert_allclose(H, G * (np.pi - np.arccos(G)) / (2 * np.pi), atol=1e-7)
    np.testing.assert_allclose(H, H.T, rtol=0, atol=0)
    assert (np.diag(H) == 0.5).all()
    np.testing.assert_allclose(gram.arc_cosine(U[:7], U), H[:7], atol=1e-7)
    np.testing.assert_allclose(gram.arc_cosine(sp.csr_array(U)), H, atol=1e-7)


def test_gram_is_the_expectation_over_random_neurons():
    """H = E[x_i'x_j 1{w'x_i >= 0, w'x_j >= 0}], by drawing w."""
    U = oracles.unit(np.random.default_rng(0).normal(size=(5, 3)))
    active = (np.random.default_rng(1).normal(size=(400_000, 3)) @ U.T >= 0).astype(float)
    drawn = (U @ U.T) * (active.T @ active) / len(active)
    np.testing.assert_allclose(gram.arc_cosine(U), drawn, atol=4 * 0.5 / np.sqrt(len(active)))


def test_equal_and_opposite_rows_have_a_kernel_value():
    x = np.array([[1e-9, 2.0, -3.0]])
    H = gram.arc_cosine(gram.unit_rows(np.vstack([x, 7 * x, -x])))
    assert H[0, 1] == pytest.approx(0.5, abs=1e-7)
    assert H[0, 2] == pytest.approx(0, abs=1e-7)


def test_equal_rows_are_found_whatever_their_length():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4))
    X[[17, 200]] = X[5] * np.array([[3.0], [0.1]])
    X[299] = X[4]
    U = gram.unit_rows(X)
    expected = np.arange(300)
    expected[[17, 200]], expected[299] = 5, 4
    np.testing.assert_array_equal(gram.equal_rows(U), expected)
    np.testing.assert_array_equal(gram.equal_rows(sp.csr_array(U)), expected)


def spd(n, dtype, seed=0):
    """A matrix with K = H + diag(own), H's diagonal 1/2 as the kernel's is."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(n, n + 3))
    A /= np.linalg.norm(A, axis=1, keepdims=True)
    H, own = 0.5 * A @ A.T, rng.uniform(0.1, 0.3, n)
    return H.astype(dtype), own


def kernel_of(H):
    return lambda rows, columns: np.array(H[rows, columns], order="C")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("n", "panel"), [(1, 4), (4, 4), (37, 8), (64, 16), (65, 64), (65, 100)])
def test_panels_factor_solve_and_invert(n, panel, dtype):
    H, own = spd(n, dtype)
    K = H.astype(np.float64) + np.diag(own)
    L, shares = panels.Panels(n, dtype, panel), []
    panels.cholesky(L, kernel_of(H), own, entry=50.0, report=shares.append)
    whole = np.zeros((n, n))
    for j, start in enumerate(L.starts):
        whole[start:, start : start + panel] = L[j]
    tight = 1e-12 if dtype == "float64" else 2e-5
    np.testing.assert_allclose(np.tril(whole) @ np.tril(whole).T, K, atol=tight)
    Y = np.random.default_rng(1).normal(size=(n, 2))
    Z = panels.solve(L, Y)
    np.testing.assert_allclose(Z, np.linalg.solve(K, Y), atol=100 * tight)
    KZ = panels.product(L, kernel_of(H), np.diag(H) + own, Z)
    np.testing.assert_allclose(KZ, K @ Z, atol=100 * tight)
    for j, start in enumerate(L.starts):
        some = panels.product_rows(L, kernel_of(H), np.diag(H) + own, Z, j)
        np.testing.assert_allclose(some, (K @ Z)[start : start + panel], atol=100 * tight)
    for first in {0, n // 3}:
        again = panels.Panels(n, dtype, panel)
        panels.cholesky(again, kernel_of(H), own)
        np.testing.assert_allclose(
            panels.inverse_diagonal(again, first), np.diag(np.linalg.inv(K))[first:], atol=100 * tight
        )
    panels.inverse_diagonal(L, report=shares.append)
    assert sum(shares) == pytest.approx(2, rel=0.1 if n > panel else 0.5)


def test_a_matrix_without_factor_names_the_row():
    A = np.eye(20)
    A[13, 13] = -1
    with pytest.raises(panels.SingularGramError) as caught:
        panels.cholesky(panels.Panels(20, "float64", 8), kernel_of(A), np.zeros(20))
    assert caught.value.row == 13


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_solve_gives_z_d_and_an_honest_residual(dtype):
    H, own = spd(50, dtype)
    Y = np.random.default_rng(0).normal(size=(50, 3))
    z, d, residual = gp_loo.solve(kernel_of(H), 0.5, own, Y, panels.Panels(50, dtype, 16))
    K = H.astype(np.float64)
    K[np.diag_indices(50)] = 0.5 + own
    inverse = np.linalg.inv(K)
    rtol = 1e-9 if dtype == "float64" else 1e-3
    np.testing.assert_allclose(z, inverse @ Y, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(d, np.diag(inverse), rtol=rtol)
    assert residual == pytest.approx(abs(K @ z - Y).max() / abs(Y).max(), abs=100 * float(np.finfo(dtype).eps))


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("stop", [1, 3, 5, 7, 9])
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path, stop, in_memory):
    """Stopped after so many products, by an error in the middle of a panel; then on disk as in memory."""
    H, own = spd(70, "float32")
    Y = np.ones((70, 1))
    whole = gp_loo.solve(kernel_of(H), 0.5, own, Y, panels.Panels(70, "float32", 16))

    class StoppedError(Exception):
        pass

    def run(limit):
        calls = []

        def report(share):
            calls.append(share)
            if len(calls) > limit:
                raise StoppedError

        L = panels.Panels(70, "float32", 16, tmp_path / "run", in_memory=in_memory, run="a")
        return gp_loo.solve(kernel_of(H), 0.5, own, Y, L, report=report), len(calls)

    with pytest.raises(StoppedError):
        run(3 * stop)
    resumed, left = run(10**6)
    assert left < 40 - stop
    for here, there in zip(resumed, whole, strict=True):
        np.testing.assert_array_equal(here, there)


def test_a_folder_of_another_run_is_refused(tmp_path):
    panels.Panels(70, "float32", 16, tmp_path / "run", run="a")
    with pytest.raises(panels.OtherRunError):
        panels.Panels(70, "float32", 16, tmp_path / "run", run="b")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("a cat")
    with pytest.raises(panels.OtherRunError, match="other files"):
        panels.Panels(70, "float32", 16, tmp_path / "photos", run="a")


def test_device_auto_is_the_cpu_without_a_card():
    assert machine.pick_device("auto", worthwhile=False) == "cpu"
    assert machine.pick_device("cpu") == "cpu"


@pytest.mark.parametrize(
    ("system", "there", "asked"), [("linux", "", False), ("linux", "/dev/nvidia0", True), ("darwin", "", False)]
)
def test_torch_is_asked_for_a_card_only_where_there_may_be_one(system, there, asked, monkeypatch):
    """Its import takes seconds."""
    monkeypatch.setattr(machine.sys, "platform", system)
    monkeypatch.setattr(machine.os.path, "exists", lambda path: path == there)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setitem(machine.sys.modules, "torch", None)
    del machine.sys.modules["torch"]
    real, seen = __import__, []
    monkeypatch.setattr(
        "builtins.__import__", lambda name, *a: seen.append(name) or real("types" if name == "torch" else name, *a)
    )
    if asked:
        with pytest.raises(AttributeError, match="cuda"):
            machine.pick_device("auto")
    else:
        assert machine.pick_device("auto") == "cpu"
    assert ("torch" in seen) == asked


def test_a_device_without_torch_names_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert machine.pick_device("auto") == "cpu"
    with pytest.raises(ImportError, match=r"pip install 'datassay\[torch\]'"):
        machine.pick_device("cuda")


def test_memory_is_told():
    assert 2**27 < machine.available_memory() < 2**50


@pytest.mark.parametrize(
    ("limit", "expected"), [("max", 9000), ("7000", 7000 - 4000 + 1500), ("90000", 9000), ("nothing", 9000), (None, 9000)]
)
def test_the_limit_of_a_container_counts(monkeypatch, tmp_path, limit, expected):
    """What is free in it: its limit less what it holds, pages of files that were read not counted."""
    if limit is not None:
        (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text("4000\n")
    (tmp_path / "memory.stat").write_text("anon 2000\ninactive_file 1500\n")
    monkeypatch.setattr(machine, "Path", lambda path: tmp_path / path.rsplit("/", 1)[1])
    monkeypatch.setattr(machine.psutil, "virtual_memory", lambda: SimpleNamespace(available=9000))
    assert machine.available_memory() == expected


ROOMS = [  #: from the top down: each may import itself and what is below it
    {"__init__", "__main__", "cli"},  # cli asks for the version
    {"commands"},
    {"terminal"},
    {"sklearn"},
    {"review"},
    {"evaluation"},
    {"reporting"},
    {"decisions"},
    {"planning", "explaining"},
    {"methods"},
    {"costs"},
    {"subsets"},
    {"networks"},
    {"values"},
    {"data"},
    {"engines"},
    {"units", "checks", "files", "signals"},
]
LEVEL = {name: level for level, room in enumerate(ROOMS) for name in room}


def room_of(path):
    return path.relative_to(SRC).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", sorted(SRC.rglob("*.py")), ids=lambda path: str(path.relative_to(SRC)))
def test_imports_go_one_way(path):
    """Those within functions, too."""
    assert sum(room_of(path) in room for room in ROOMS) == 1, f"{path} belongs to no room"
    for node in ast.walk(ast.parse(path.read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            below = node.module == "datassay"
            names = [f"datassay.{a.name}" if below and a.name in LEVEL else node.module for a in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "datassay":
                to = parts[1] if len(parts) > 1 else "__init__"
                assert LEVEL[to] >= LEVEL[room_of(path)], f"{path}, line {node.lineno}: imports {name}"


def test_no_module_has_the_name_of_a_function():
    """`datassay.audit` is the function, whatever was imported before."""
    functions = {name for name in da.__all__ if inspect.isfunction(getattr(da, name))}
    assert functions >= {"audit", "evaluate", "plan", "read", "report", "value"}
    assert not functions & {room_of(path) for path in SRC.rglob("*.py")}
