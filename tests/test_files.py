"""The laws of `tinycnn.files`: the old file or the new one, and never half of either.

Disks that are full, keys that are pressed and processes that die are made here. These
tests know no format: what is written is any bytes.
"""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tinycnn.files import temporaries, write_atomically

OLD, NEW = b"old", [b"new ", b"", b"content"]
DIE_WHILE_WRITING = """
import os, sys
from tinycnn.files import write_atomically

def parts():
    yield bytes(1_000_000)
    os._exit(9)

write_atomically(sys.argv[1], parts())
"""


@pytest.fixture
def path(tmp_path):
    """Return an old file, alone in its folder."""
    (tmp_path / "file").write_bytes(OLD)
    return tmp_path / "file"


def contents(folder):
    return {entry.name: entry.read_bytes() for entry in folder.iterdir()}


def failing(error):
    def function(*_args, **_kwargs):
        raise error

    return function


# --- what is written ---------------------------------------------------------------


@pytest.mark.parametrize("kind", [Path, str])
def test_the_new_file_is_its_parts_in_a_row(path, kind):
    write_atomically(kind(path), iter(NEW))
    assert contents(path.parent) == {"file": b"new content"}


def test_a_file_that_was_not_there_is_made(tmp_path):
    write_atomically(tmp_path / "file", [])
    assert contents(tmp_path) == {"file": b""}


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


@pytest.mark.skipif(os.name != "posix", reason="permissions by umask are POSIX")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_permissions_follow_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "file", NEW)
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


# --- failures ----------------------------------------------------------------------


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_alone(path, monkeypatch, step):
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(os if step == "fsync" else Path, step, failing(full))
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_atomically(path, NEW)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(path)
    assert contents(path.parent) == {"file": OLD}


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_ctrl_c_leaves_the_old_file_alone(path, monkeypatch, step):
    monkeypatch.setattr(
        os if step == "fsync" else Path, step, failing(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, NEW)
    assert contents(path.parent) == {"file": OLD}


def test_parts_that_fail_leave_the_old_file_alone(path):
    def parts():
        yield b"half"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_atomically(path, parts())
    assert contents(path.parent) == {"file": OLD}


def test_a_write_the_system_cuts_short_leaves_the_old_file_alone(path):
    resource = pytest.importorskip("resource", reason="file size limits are POSIX")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        with pytest.raises(OSError, match="too large") as caught:
            write_atomically(path, [bytes(800_000)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno == errno.EFBIG
    assert contents(path.parent) == {"file": OLD}


def test_a_missing_folder_is_named_by_the_path_the_user_gave(tmp_path):
    path = tmp_path / "nowhere" / "file"
    with pytest.raises(FileNotFoundError) as caught:
        write_atomically(path, NEW)
    assert caught.value.filename == str(path)


def test_a_folder_that_cannot_be_synced_is_no_failure(path, monkeypatch):
    real = os.fsync
    calls = []

    def only_files(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", only_files)
    write_atomically(path, NEW)
    assert len(calls) == 2
    assert contents(path.parent) == {"file": b"new content"}


def test_the_file_is_on_disk_before_its_name_and_the_folder_after(path, monkeypatch):
    order = []
    fsync, replace = os.fsync, Path.replace

    def note_fsync(descriptor):
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            order.append("folder")
        else:
            order.append(f"{status.st_size} bytes")
        fsync(descriptor)

    def note_replace(temporary, target):
        order.append("name")
        assert temporary.parent == target.parent
        return replace(temporary, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    write_atomically(path, NEW)
    assert order == ["11 bytes", "name", "folder"]


# --- what a killed process leaves --------------------------------------------------


def test_a_process_that_dies_while_writing_leaves_the_old_file(path):
    ran = subprocess.run(
        [sys.executable, "-c", DIE_WHILE_WRITING, str(path)],
        cwd=Path(__file__).parents[1],
        check=False,
    )
    assert ran.returncode == 9
    assert path.read_bytes() == OLD
    (left,) = temporaries(path)
    write_atomically(path, NEW)
    assert path.read_bytes() == b"new content"
    assert set(path.parent.iterdir()) == {path, left}


def test_temporaries_are_those_of_one_file(tmp_path):
    names = ["file", "file.gz", "f", "[file]"]
    for name in names:
        (tmp_path / name).touch()
        (tmp_path / f"{name}.1-abc.tmp").touch()
    for name in names:
        assert temporaries(tmp_path / name) == [tmp_path / f"{name}.1-abc.tmp"]


def test_temporaries_of_a_link_lie_beside_the_file_it_names(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "file")
    (tmp_path / "real" / "file.1-abc.tmp").touch()
    assert temporaries(tmp_path / "link") == [tmp_path / "real" / "file.1-abc.tmp"]
