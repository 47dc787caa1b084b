import hashlib

import pytest

from wav2small.export.base.files import (
    atomic_write,
    is_temporary,
    remove_temporary,
    sha256,
)


def test_writes(tmp_path):
    path = tmp_path / "a.txt"
    with atomic_write(path) as file:
        file.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failed_write_keeps_the_old_file(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    with pytest.raises(error), atomic_write(path) as file:
        file.write(b"ne")
        raise error
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_remove_temporary_leaves_the_rest(tmp_path):
    names = ["a.tmp", ".hidden", ".a.txt.12.tmp"]
    for name in names:
        (tmp_path / name).touch()
    assert [is_temporary(tmp_path / name) for name in names] == [False, False, True]
    remove_temporary(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".hidden", "a.tmp"]
    remove_temporary(tmp_path / "missing")


def test_sha256(tmp_path):
    data = bytes(range(256)) * 9999
    (tmp_path / "a").write_bytes(data)
    assert sha256(tmp_path / "a") == hashlib.sha256(data).hexdigest()
    with pytest.raises(FileNotFoundError):
        sha256(tmp_path / "b")
