"""engines/row_store.py: what is put is there, in memory and in files, and what can't be is told."""

import numpy as np
import pytest

from datassay.checks import DataError
from datassay.engines import row_store
from datassay.engines.row_store import RowStore


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("in_a_folder", [False, True])
def test_products_are_those_of_the_numbers(tmp_path, dtype, in_a_folder, monkeypatch):
    monkeypatch.setattr(row_store, "AT_ONCE", 40)
    rng = np.random.default_rng(0)
    A, V = rng.normal(size=(23, 6)).astype(dtype), rng.normal(size=(6, 3))
    store = RowStore(tmp_path / "s" if in_a_folder else None, 23, 6, dtype, block=5)
    assert [rows for _, rows in store.missing()] == [slice(s, min(s + 5, 23)) for s in range(0, 23, 5)]
    for b, rows in store.missing():
        store.put(b, A[rows])
    assert store.missing() == []
    np.testing.assert_array_equal(store.numbers, A)
    np.testing.assert_allclose(store.times(V), A.astype(np.float64) @ V, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(store.gram(), A.astype(np.float64).T @ A.astype(np.float64), rtol=1e-5, atol=1e-5)


def test_blocks_that_were_put_are_found_again(tmp_path):
    first = RowStore(tmp_path, 9, 2, "float32", block=4)
    first.put(1, np.full((4, 2), 7))
    del first
    again = RowStore(tmp_path, 9, 2, "float32", block=4)
    assert again.missing() == [(0, slice(0, 4)), (2, slice(8, 9))]
    assert (again.numbers[4:8] == 7).all()


def test_what_is_of_another_shape_or_has_no_room_is_told(tmp_path, monkeypatch):
    RowStore(tmp_path, 9, 2, "float32", block=4)
    with pytest.raises(
        DataError, match=r"numbers.npy holds \(9, 2\) numbers of float32, and \(9, 3\) of float16 are needed: remove it"
    ):
        RowStore(tmp_path, 9, 3, "float16", block=4)
    monkeypatch.setattr(row_store.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(DataError, match=r"needs .* and .* are free there: give a folder on another disk"):
        RowStore(tmp_path / "other", 9, 2, "float32", block=4)
    assert not (tmp_path / "other" / "numbers.npy").exists()


def test_numbers_that_do_not_fit_are_told_and_not_written(tmp_path):
    store = RowStore(tmp_path, 3, 2, "float16", block=3)
    for bad in (7e4, np.nan):
        with pytest.raises(DataError, match="don't fit into float16: take float32"):
            store.put(0, np.full((3, 2), bad))
    assert len(RowStore(tmp_path, 3, 2, "float16", block=3).missing()) == 1
