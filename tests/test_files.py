"""A file is there whole or not at all."""

import os

import pytest

from datassay.files import replacing


def test_what_was_there_is_replaced_at_the_end_and_after_the_disk_has_it(tmp_path, monkeypatch):
    path, done = tmp_path / "numbers.txt", []
    path.write_text("old")
    sync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (done.append("fsync"), sync(file)))
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("replace"), rename(*paths)))
    with replacing(path) as beside:
        beside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert done == ["fsync", "replace"]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("breaks", ["write", "os.fsync", "os.replace"])
def test_after_an_error_nothing_has_changed(tmp_path, monkeypatch, breaks):
    path = tmp_path / "numbers.txt"
    path.write_text("old")

    def fail(*_):
        raise OSError("the disk is full")

    def write():
        with replacing(path) as beside:
            beside.write_text("half of it")
            if breaks == "write":
                fail()

    if breaks != "write":
        monkeypatch.setattr(breaks, fail)
    with pytest.raises(OSError, match="the disk is full"):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
