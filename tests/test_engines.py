import ast
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

import oracles
from datassay.engines import blocked, gram, leave_one_out, machine

SRC = Path(blocked.__file__).parents[1]


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


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("n", "panel"), [(1, 4), (4, 4), (37, 8), (64, 16), (65, 64)])
def test_blocked_factor_and_inverse(n, panel, dtype):
    rng = np.random.default_rng(n)
    A = rng.normal(size=(n, n))
    K = np.asfortranarray((A @ A.T / n + np.eye(n)).astype(dtype))
    L, shares = K.copy(order="F"), []
    assert blocked.cholesky(L, shares.append, panel) == 0
    np.testing.assert_array_equal(np.triu(L, 1), np.triu(K, 1))
    tight = 1e-12 if dtype == "float64" else 1e-4
    np.testing.assert_allclose(np.tril(L) @ np.tril(L).T, K, atol=tight)
    whole = np.tril(L)
    blocked.invert_lower(L, shares.append, panel)
    np.testing.assert_allclose(np.tril(L) @ whole, np.eye(n), atol=tight)
    np.testing.assert_array_equal(np.triu(L, 1), np.triu(K, 1))
    assert sum(shares) == pytest.approx(2)


def test_blocked_cholesky_names_the_row():
    A = np.asfortranarray(np.eye(20))
    A[13, 13] = -1
    assert blocked.cholesky(A, panel=8) == 14
    with pytest.raises(leave_one_out.SingularGramError) as caught:
        leave_one_out.solve(A.copy(order="F"), np.ones((20, 1)))
    assert caught.value.row == 13
    with pytest.raises(ValueError, match="Fortran"):
        blocked.cholesky(np.array([[2.0, 1.0], [0.5, 2.0]]))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_solve_gives_z_d_and_an_honest_residual(dtype):
    rng = np.random.default_rng(0)
    A = rng.normal(size=(50, 50))
    K, Y = A @ A.T / 50 + 0.1 * np.eye(50), rng.normal(size=(50, 3))
    z, d, residual = leave_one_out.solve(np.asfortranarray(K.astype(dtype)), Y, ridge=0.2)
    inverse = np.linalg.inv(K + 0.2 * np.eye(50))
    rtol = 1e-9 if dtype == "float64" else 1e-3
    np.testing.assert_allclose(z, inverse @ Y, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(d, np.diag(inverse), rtol=rtol)
    true = abs((K.astype(dtype) + np.asarray(0.2, dtype) * np.eye(50)) @ z - Y).max() / abs(Y).max()
    assert residual == pytest.approx(true, abs=100 * float(np.finfo(dtype).eps))


def test_device_auto_is_the_cpu_without_a_card():
    assert machine.pick_device("auto", worthwhile=False) == "cpu"
    assert machine.pick_device("cpu") == "cpu"


def test_a_device_without_torch_names_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert machine.pick_device("auto") == "cpu"
    with pytest.raises(ImportError, match=r"pip install 'datassay\[torch\]'"):
        machine.pick_device("cuda")


def test_memory_is_told():
    assert 2**27 < machine.available_memory() < 2**50


@pytest.mark.parametrize(
    ("folder", "may_know"),
    [
        ("engines", {"datassay.engines"}),
        (
            "methods",
            {
                "datassay.engines",
                "datassay.errors",
                "datassay.data",
                "datassay.values",
                "datassay.models",
                "datassay.methods",
            },
        ),
        ("report", {"datassay.errors", "datassay.data", "datassay.values", "datassay.engines", "datassay.report"}),
    ],
)
def test_imports_go_one_way(folder, may_know):
    files = list((SRC / folder).glob("*.py"))
    assert files
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [a.name for a in node.names] if isinstance(node, ast.Import) else []
            own = [n for n in names if n and n.startswith("datassay")]
            assert not isinstance(node, ast.ImportFrom) or node.level == 0, f"{path}: relative import"
            assert all(any(n == m or n.startswith(m + ".") for m in may_know) for n in own), f"{path} imports {own}"
