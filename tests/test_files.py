"""Laws of `tinycnn.files`: the old file or the new one, never half of either."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tinycnn.files import UnreadableError, read_regular, write_atomically

OLD, NEW = b"old", [b"new ", b"", b"content"]
DIE_WHILE_WRITING = """
import os, sys
from tinycnn.files import write_atomically
parts = (bytes(size) if size else os._exit(9) for size in (1_000_000, 0))
write_atomically(sys.argv[1], parts)
"""
posix = pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX")


@pytest.fixture
def path(tmp_path):
    """Return an old file, alone in its folder."""
    (tmp_path / "file").write_bytes(OLD)
    return tmp_path / "file"


def contents(folder):
    return {entry.name: entry.read_bytes() for entry in folder.iterdir()}


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_the_new_file_is_its_parts_in_a_row(path):
    for kind in (Path, str):
        write_atomically(kind(path), iter(NEW))
        assert contents(path.parent) == {"file": b"new content"}
    path.unlink()
    write_atomically(path, [])
    assert contents(path.parent) == {"file": b""}


def test_the_old_file_is_there_until_the_new_one_is_whole(path):
    def parts():
        for part in NEW:
            assert path.read_bytes() == OLD
            yield part

    write_atomically(path, parts())
    assert path.read_bytes() == b"new content"


def test_two_writers_at_once_are_not_in_each_others_way(path):
    def parts():
        yield b"first"
        write_atomically(path, [b"second"])
        assert path.read_bytes() == b"second"
        yield b" and whole"

    write_atomically(path, parts())
    assert contents(path.parent) == {"file": b"first and whole"}


def test_a_symbolic_link_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "file")
    write_atomically(tmp_path / "link", NEW)
    assert (tmp_path / "link").is_symlink()
    assert contents(tmp_path / "real") == {"file": b"new content"}


@posix
def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path):
    for umask in (0o022, 0o077):
        before = os.umask(umask)
        write_atomically(tmp_path / str(umask), NEW)
        os.umask(before)
        assert mode(tmp_path / str(umask)) == 0o666 & ~umask


@posix
def test_a_replaced_file_keeps_its_permissions_at_every_moment(path):
    def parts():
        (temporary,) = set(path.parent.iterdir()) - {path}
        assert mode(temporary) == wanted
        yield b"secret"

    for wanted in (0o600, 0o640, 0o664, 0o400):
        path.chmod(wanted)
        write_atomically(path, parts())
        assert mode(path) == wanted
        assert path.read_bytes() == b"secret"


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()]
)
def test_a_full_disk_and_ctrl_c_leave_the_old_file_alone(
    path, monkeypatch, step, error
):
    def fail(*_):
        raise error

    monkeypatch.setattr(os if step == "fsync" else Path, step, fail)
    with pytest.raises(type(error)) as caught:
        write_atomically(path, NEW)
    if isinstance(error, OSError):
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.filename == str(path)
    assert contents(path.parent) == {"file": OLD}


def test_parts_that_fail_leave_the_old_file_alone(path):
    def parts():
        yield b"half"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_atomically(path, parts())
    assert contents(path.parent) == {"file": OLD}


def test_a_missing_folder_is_named_by_the_path_the_user_gave(tmp_path):
    path = tmp_path / "nowhere" / "file"
    with pytest.raises(FileNotFoundError) as caught:
        write_atomically(path, NEW)
    assert caught.value.filename == str(path)


def test_the_file_is_on_disk_before_its_name(path, monkeypatch):
    fsync = os.fsync

    def note(descriptor):
        assert path.read_bytes() == OLD
        sizes.append(os.fstat(descriptor).st_size)
        fsync(descriptor)

    sizes = []
    monkeypatch.setattr(os, "fsync", note)
    write_atomically(path, NEW)
    assert sizes == [len(b"new content")]


def test_a_process_killed_while_writing_leaves_the_old_file(path):
    ran = subprocess.run(
        [sys.executable, "-c", DIE_WHILE_WRITING, str(path)],
        cwd=Path(__file__).parents[1],
        check=False,
    )
    assert ran.returncode == 9
    assert path.read_bytes() == OLD
    write_atomically(path, NEW)
    assert path.read_bytes() == b"new content"


def test_a_regular_file_is_read_up_to_its_limit(path):
    assert read_regular(path, 3) == OLD
    with pytest.raises(UnreadableError, match="has more than 2 bytes"):
        read_regular(path, 2)
    path.write_bytes(b"")
    for name in (path, path.parent, path / "x", "zero\0byte", os.devnull):
        with pytest.raises(UnreadableError):
            read_regular(name, 3)
