"""Writes that are cut off: the earlier file stays whole, and the next run starts clean."""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pytest

from forecast.system import files
from forecast.system.errors import BusyError, DamagedError, ForecastError, InputError
from tests.support import small_project

LIMIT = 2_000_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of 2 MB; skipped where none may be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(
            "no right to mount a file system here; the file size limit below stands in for it"
        )
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def child(code: str, *words: str, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *words]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=small_project.environment(),
        **options,
    )


def test_a_full_disk_leaves_the_earlier_file_and_says_what_to_do(small_disk: Path) -> None:
    target = small_disk / "result.bin"
    files.write_bytes(target, b"earlier")
    with pytest.raises(ForecastError, match=r"No space left .*result\.bin.*Free some space"):
        files.write_bytes(target, b"x" * 2 * LIMIT)
    assert target.read_bytes() == b"earlier"
    assert [path.name for path in small_disk.iterdir()] == ["result.bin"]


def test_on_a_full_disk_a_lock_is_held_without_its_note_so_that_it_can_be_cleaned(
    small_disk: Path,
) -> None:
    (small_disk / "a.lock").touch()
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "filler").write_bytes(b"x" * 2 * LIMIT)
    with files.hold_lock(small_disk / "a.lock", purpose="A test"):
        with (
            pytest.raises(BusyError, match="PID unknown"),
            files.hold_lock(small_disk / "a.lock", purpose="A test"),
        ):
            pass
        (small_disk / "filler").unlink()
    with files.hold_lock(small_disk / "a.lock", purpose="A test"):
        assert (small_disk / "a.pid").read_text() == f"{os.getpid()}\n"


# NumPy 1 leaves its archive open when a write fails, and the archive complains when it is collected
@pytest.mark.filterwarnings("ignore:Exception ignored in.*ZipFile")
def test_a_full_disk_leaves_the_earlier_folder(small_disk: Path) -> None:
    target = small_disk / "trained"
    with files.atomic_directory(target) as folder:
        (folder / "a").write_text("earlier")
    with (
        pytest.raises(ForecastError, match="No space left"),
        files.atomic_directory(target) as folder,
    ):
        files.write_arrays(folder / "a.npz", {"w": np.zeros(LIMIT)})
    assert [path.name for path in small_disk.rglob("*")] == ["trained", "a"]


def test_a_full_disk_names_the_folder_and_not_its_temporary_path(tmp_path, monkeypatch) -> None:
    def fail(_path: Path, _content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    refusal = rf"^No space left while writing {re.escape(str(tmp_path / 'model'))}\."
    with (
        pytest.raises(ForecastError, match=refusal),
        files.atomic_directory(tmp_path / "model") as folder,
    ):
        files.write_json(folder / "model.json", {})
    assert not list(tmp_path.iterdir())


def test_a_write_that_hits_a_size_limit_leaves_the_earlier_file(tmp_path: Path) -> None:
    target = tmp_path / "result.bin"
    target.write_bytes(b"earlier")
    code = f"""
        import sys
        from forecast.system import files
        try:
            files.write_bytes(sys.argv[1], b"x" * {2 * LIMIT})
        except (OSError, files.ForecastError) as error:
            print("refused")
    """

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT))

    output, _ = child(code, str(target), preexec_fn=limited).communicate(timeout=30)
    assert output == "refused\n"
    assert target.read_bytes() == b"earlier"
    assert [path.name for path in tmp_path.iterdir()] == ["result.bin"]


def test_a_kill_in_the_middle_of_a_write_leaves_the_earlier_file(tmp_path: Path) -> None:
    target = tmp_path / "result.txt"
    target.write_text("earlier")
    code = """
        import sys, time
        from forecast.system import files
        with files.atomic_path(sys.argv[1]) as temporary:
            temporary.write_text("half")
            print("writing", flush=True)
            time.sleep(60)
    """
    writer = child(code, str(target))
    assert writer.stdout is not None
    assert writer.stdout.readline() == "writing\n"
    writer.kill()
    writer.communicate()
    assert target.read_text() == "earlier"
    assert [path.name.startswith(files.TEMPORARY) for path in files.remove_leftovers(tmp_path)] == [
        True
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["result.txt"]


KILLED_AT = """
    import os, pathlib, shutil, signal, sys
    from forecast.system import files

    left = int(sys.argv[2])
    remove = shutil.rmtree

    def die_at_the_point():
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    def killed_before(original):
        def step(*arguments):
            die_at_the_point()
            return original(*arguments)
        return step

    def killed_half_way(path, **options):
        (pathlib.Path(path) / "a").unlink()
        die_at_the_point()
        remove(path, **options)

    pathlib.Path.replace = killed_before(pathlib.Path.replace)
    pathlib.Path.rename = killed_before(pathlib.Path.rename)
    shutil.rmtree = killed_half_way
    with files.atomic_directory(sys.argv[1]) as folder:
        (folder / "a").write_text("new")
        (folder / "b").write_text("new")
"""


def write_folder(target: Path, content: str) -> None:
    with files.atomic_directory(target) as folder:
        (folder / "a").write_text(content)
        (folder / "b").write_text(content)


def folder_content(target: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in target.iterdir()}


@pytest.mark.parametrize(
    ("point", "expected"), [(0, "old"), (1, "old"), (2, "new"), (3, "new"), (4, "new")]
)
def test_a_kill_at_any_step_of_replacing_a_folder_leaves_the_old_or_the_new_one(
    tmp_path: Path, point: int, expected: str
) -> None:
    """Before the two renames, between them, before and in the removal; 4: no kill."""
    target = tmp_path / "pending"
    write_folder(target, "old")
    writer = child(KILLED_AT, str(target), str(point))
    writer.communicate(timeout=60)
    assert writer.returncode == (0 if point == 4 else -signal.SIGKILL)
    assert target.exists() == (point != 1)
    copy = tmp_path.parent / f"{tmp_path.name}-copy"
    shutil.copytree(tmp_path, copy)
    files.remove_leftovers(tmp_path)
    assert folder_content(target) == {"a": expected, "b": expected}
    assert [path.name for path in tmp_path.iterdir()] == ["pending"]
    with pytest.raises(KeyError), files.atomic_directory(copy / "pending"):
        raise KeyError("a later write that fails")
    assert folder_content(copy / "pending") == {"a": expected, "b": expected}
    write_folder(copy / "pending", "newest")
    assert folder_content(copy / "pending") == {"a": "newest", "b": "newest"}
    files.remove_leftovers(copy)
    assert [path.name for path in copy.iterdir()] == ["pending"]


def test_what_is_put_back_or_cannot_be_removed_is_not_told_as_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aside = tmp_path / ".tmp-pending-0a1b2c3d.old"
    old_folder = tmp_path / ".tmp-seed-0a1b2c3d.old"
    held_folder = tmp_path / ".tmp-held-0a1b2c3d"
    for folder in (aside, old_folder, held_folder):
        write_folder(folder, "old")
    (tmp_path / "seed").mkdir()
    (aside / ".tmp-b-0a1b2c3d").touch()
    remove = shutil.rmtree

    def remove_others(path: Path, **options: bool) -> None:
        if path != held_folder:
            remove(path, **options)

    monkeypatch.setattr(shutil, "rmtree", remove_others)
    assert set(files.remove_leftovers(tmp_path)) == {old_folder, aside / ".tmp-b-0a1b2c3d"}
    assert folder_content(tmp_path / "pending") == {"a": "old", "b": "old"}
    assert {path.name for path in tmp_path.iterdir()} == {"pending", "seed", held_folder.name}


@pytest.mark.parametrize("failing", [1, 2])
def test_a_rename_that_fails_leaves_the_earlier_folder(
    tmp_path: Path, failing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "pending"
    write_folder(target, "old")
    replace, calls = Path.replace, []

    def replace_or_fail(self: Path, to: Path) -> Path:
        calls.append(self)
        if len(calls) == failing:
            raise PermissionError(13, "in use by another program")
        return replace(self, to)

    monkeypatch.setattr(Path, "replace", replace_or_fail)
    with pytest.raises(PermissionError):
        write_folder(target, "new")
    assert folder_content(target) == {"a": "old", "b": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["pending"]


def test_a_folder_set_aside_is_not_given_to_one_of_a_longer_name(tmp_path: Path) -> None:
    for name in ("seed", "seed-1"):
        write_folder(tmp_path / f".tmp-{name}-0a1b2c3d.old", name)
    write_folder(tmp_path / "seed", "new")
    assert (tmp_path / ".tmp-seed-1-0a1b2c3d.old").exists()
    files.remove_leftovers(tmp_path, "seed-1")
    assert folder_content(tmp_path / "seed-1") == {"a": "seed-1", "b": "seed-1"}


def test_scratch_that_a_killed_process_left_is_cleared_and_a_living_ones_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
        import sys, tempfile
        from forecast.system import files
        tempfile.tempdir = sys.argv[1]
        with files.scratch_folder() as folder:
            (folder / "part").write_text("half")
            print(folder, flush=True)
            input()
    """
    killed, living = (child(code, str(tmp_path), stdin=subprocess.PIPE) for _ in range(2))
    assert killed.stdout is not None and living.stdout is not None
    left, used = (Path(process.stdout.readline().strip()) for process in (killed, living))
    killed.kill()
    killed.communicate()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with files.scratch_folder():
        assert not left.exists() and used.exists()
    living.communicate("\n")
    assert list(tmp_path.iterdir()) == []


def test_a_lock_names_its_holder_and_dies_with_it(tmp_path: Path) -> None:
    code = """
        import sys, time
        from forecast.system import files
        with files.hold_lock(sys.argv[1], purpose="the holder"):
            print("held", flush=True)
            time.sleep(60)
    """
    lock = tmp_path / "run.lock"
    holder = child(code, str(lock))
    assert holder.stdout is not None
    holder.stdout.readline()
    refusal = pytest.raises(BusyError, match=rf"the holder is already running \(PID {holder.pid}")
    with refusal, files.hold_lock(lock, purpose="the holder"):
        raise AssertionError("two holders")
    holder.kill()
    holder.communicate()
    with files.hold_lock(lock, purpose="the holder"):
        assert (tmp_path / "run.pid").read_text() == f"{os.getpid()}\n"


def test_an_error_inside_leaves_the_earlier_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "table.csv"
    files.write_text(target, "earlier\n")
    with pytest.raises(RuntimeError), files.atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "earlier\n"
    assert list(tmp_path.iterdir()) == [target]


def test_equal_arrays_are_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        files.write_arrays(tmp_path / name, {"w": np.arange(3.0), "b": np.ones(2)})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_json_refuses_what_json_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o027, 0o002])
def test_every_written_file_and_folder_has_the_mode_that_the_umask_says(
    tmp_path: Path, mask: int
) -> None:
    before = os.umask(mask)
    try:
        files.write_json(tmp_path / "a.json", {})
        files.write_arrays(tmp_path / "a.npz", {"x": np.zeros(1)})
        files.write_frame(tmp_path / "a.parquet", pd.DataFrame({"x": [1.0]}))
        with files.atomic_directory(tmp_path / "folder") as folder:
            (folder / "inside").write_text("x")
    finally:
        os.umask(before)
    for name in ("a.json", "a.npz", "a.parquet", "folder/inside"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o666 & ~mask, name
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o777 & ~mask


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("frame.parquet", "half"),
        ("arrays.npz", "half"),
        ("arrays.npz", "no archive"),
        ("arrays.npz", "one bit"),
        ("arrays.npz", "empty"),
        ("arrays.npz", "absent"),
        ("saved.json", "half"),
        ("saved.json", "absent"),
    ],
)
def test_a_damaged_file_of_what_is_kept_is_one_kind_of_error(
    tmp_path: Path, name: str, damage: str
) -> None:
    path = tmp_path / name
    files.write_frame(tmp_path / "frame.parquet", pd.DataFrame({"y": np.arange(300.0)}))
    files.write_arrays(tmp_path / "arrays.npz", {"kernel": np.arange(300.0)})
    files.write_json(tmp_path / "saved.json", {"schema": 1})
    content = path.read_bytes()
    middle = len(content) // 2
    damaged = {
        "half": content[:middle],
        "no archive": b"no archive",
        "one bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "empty": b"",
    }
    if damage == "absent":
        path.unlink()
    else:
        path.write_bytes(damaged[damage])
    read = {
        "frame.parquet": files.read_frame,
        "arrays.npz": files.read_arrays,
        "saved.json": lambda saved: files.read_saved(saved, 1),
    }
    with pytest.raises(DamagedError, match=f"{re.escape(name)}: cannot be read"):
        read[name](path)


def test_reading_a_frame_leaves_arrow_s_memory_pool_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "frame.parquet"
    files.write_frame(path, pd.DataFrame({"y": np.arange(3.0)}))
    usual_pool = pyarrow.default_memory_pool()
    try:
        pyarrow.set_memory_pool(pyarrow.mimalloc_memory_pool())
        files.read_frame(path)
        with pytest.raises(InputError):
            files.read_frame(tmp_path / "absent.parquet")
        assert pyarrow.default_memory_pool().backend_name == "mimalloc"
    finally:
        pyarrow.set_memory_pool(usual_pool)
