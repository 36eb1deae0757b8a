"""Atomic writes, reading, digests, lock files and scratch folders.

`atomic_path`, `atomic_directory` and all `write_*` here write to a temporary file or folder beside
the target, flush it (files alone), and rename it over the target. So a kill or a full disk at any
moment leaves the old file or the new one, never half a file. `read_saved`, `read_frame` and
`read_arrays` raise `DamagedError` for a damaged file of ours.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from forecast.system import processes
from forecast.system.errors import BusyError, DamagedError, ForecastError, InputError, one_line

if TYPE_CHECKING:
    import numpy as np  # not at import: `status` does without it

TEMPORARY = ".tmp-"
ASIDE_PATTERN = "-????????.old"
"""The end of the name of an old folder while a new one takes its place, as a glob pattern."""
T = TypeVar("T")


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """A temporary path to write; on success it replaces `path`, on any error it is removed."""
    with _replace_whole(path) as (temporary, target):
        temporary.touch(exist_ok=False)
        yield temporary
        with temporary.open("r+b") as written:  # Windows flushes no file that is open for reading
            os.fsync(written)
        temporary.replace(target)


@contextmanager
def atomic_directory(path: Path | str) -> Iterator[Path]:
    """A temporary directory to fill; on success it replaces `path` whole.

    For a moment the old directory has another name. After a kill in that moment the next write, or
    `remove_leftovers`, puts it back.
    """
    with _replace_whole(path) as (temporary, target):
        for aside in target.parent.glob(f"{TEMPORARY}{glob.escape(target.name)}{ASIDE_PATTERN}"):
            _restore_or_remove(aside)
        temporary.mkdir()
        yield temporary
        if not target.exists():
            temporary.replace(target)
            return
        aside = temporary.with_name(f"{temporary.name}.old")
        try:
            target.replace(aside)
            temporary.replace(target)
        finally:
            if aside.exists():
                _restore_or_remove(aside)


def _restore_or_remove(aside: Path) -> bool:
    """Rename an old folder back where no new one has taken its place, else remove it; returns
    whether it was removed.
    """
    # the random number between "-" and ".old" has no "-"
    target = aside.with_name(aside.name.removeprefix(TEMPORARY).rpartition("-")[0])
    if not target.exists():
        aside.replace(target)
        return False
    # renamed first: a half-removed folder must never be put back
    return remove(aside.rename(aside.with_suffix(".gone")))


@contextmanager
def _replace_whole(path: Path | str) -> Iterator[tuple[Path, Path]]:
    """An unused name beside `path`, and `path`; on any error what has that name is removed.

    Unlike files of `tempfile`, which only the owner can read, these get the user's umask.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{TEMPORARY}{target.name}-{secrets.token_hex(4)}")
    try:
        with explain_full_disk(target):
            yield temporary, target
    except BaseException:
        remove(temporary)
        raise


FULL_DISK = rf"\[Errno ({errno.ENOSPC}|{errno.EDQUOT}|{errno.EFBIG})\]"


@contextmanager
def explain_full_disk(target: Path) -> Iterator[None]:
    """Turns the `OSError` of a full disk into a `ForecastError` that names `target`.

    The message promises that the earlier content of `target` is intact; the caller must see to
    that.
    """
    try:
        yield
    except (OSError, ForecastError) as error:
        # writing a file of a new folder, this function has named the folder's temporary path
        cause = error.__cause__ if isinstance(error, ForecastError) else error
        # in the text, since a `shutil.Error` has the errors of the files in it and no number
        if not re.search(FULL_DISK, str(cause)):
            raise
        raise ForecastError(
            f"No space left while writing {target}. What was there before is intact. Free some"
            " space (`forecast clean` removes what can be made again), then run the same command"
            " again."
        ) from cause


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write the file whole, or leave the earlier one."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path | str, content: str) -> None:
    """Write the file whole, in UTF-8."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path | str, content: Any) -> None:
    """Write JSON with sorted keys, so that equal content gives equal bytes; `ValueError` for NaN
    and infinity.
    """
    write_text(
        path, json.dumps(content, indent=1, sort_keys=True, allow_nan=False, default=str) + "\n"
    )


def json_number(value: Any) -> Any:
    """A number, or nested lists or arrays of numbers, for JSON: NaN and infinity become None."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, list | tuple):
        return [json_number(member) for member in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def round_numbers(value: Any, digits: int) -> Any:
    """The numbers in a value, mapping, list or array, rounded to so many significant digits; NaN
    and infinity become None.
    """
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, Mapping):
        return {key: round_numbers(item, digits) for key, item in value.items()}
    if isinstance(value, list):
        return [round_numbers(item, digits) for item in value]
    return json_number(float(f"{value:.{digits}g}")) if isinstance(value, float) else value


def six_digits(value: Any) -> Any:
    """`round_numbers` to six digits."""
    return round_numbers(value, 6)


def read_json(path: Path | str) -> Any:
    """The content of a JSON file; `OSError` without one, `ValueError` for what is no JSON."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def read_note(path: Path | str) -> dict[str, Any]:
    """The object in a JSON file; empty where the file is absent, damaged or holds no object."""
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


ENSEMBLE_SCHEMA = 8
"""Format number of the manifest of a saved ensemble; here, since `status` must not import NumPy."""


def read_saved(path: Path, schema: int) -> dict[str, Any]:
    """The content of a JSON file that this program saved with the format number `schema`.

    Raises `DamagedError` for a file that cannot be read, `InputError` for another format number.
    """
    try:
        content: dict[str, Any] = read_json(path)
        found_schema = content.get("schema")
    except (OSError, ValueError, AttributeError) as error:
        raise DamagedError(f"{path}: cannot be read ({one_line(error)}).") from None
    if found_schema != schema:
        raise InputError(
            f"{path}: saved with schema {found_schema!r}, this version reads {schema}."
            " Train it again."
        )
    return content


def write_frame(path: Path | str, frame: Any) -> None:
    """Write a pandas frame as Parquet (zstd)."""
    with atomic_path(path) as temporary:
        frame.to_parquet(temporary, index=False, compression="zstd")


def join_frames(path: Path | str, parts: Sequence[Path]) -> None:
    """Join Parquet files of one schema to one file, with one row group in memory at a time."""
    from pyarrow.parquet import ParquetFile, ParquetWriter

    sources = [ParquetFile(part) for part in parts]
    with (
        atomic_path(path) as temporary,
        ParquetWriter(temporary, sources[0].schema_arrow, compression="zstd") as writer,
    ):
        for source in sources:
            for number in range(source.num_row_groups):
                writer.write_table(source.read_row_group(number))


def read_frame(path: Path | str, filters: Any = None) -> Any:
    """The Parquet file as a pandas frame, read with as little memory as possible.

    filters: which rows to read, as in `pyarrow.parquet.read_table`. Raises `DamagedError` for a
    damaged file, `InputError` for an absent one, which no stage has made yet.
    """
    import pyarrow
    import pyarrow.parquet

    # Arrow's own pool keeps freed memory: with thousands of series half of a process's memory
    usual_pool = pyarrow.default_memory_pool()
    pyarrow.set_memory_pool(pyarrow.system_memory_pool())
    try:
        table = pyarrow.parquet.read_table(path, filters=filters)
        frame = table.to_pandas(split_blocks=True, self_destruct=True)
        del table
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; an earlier stage makes it. Run `dvc repro`."
        ) from None
    except pyarrow.ArrowInvalid as error:
        cause = one_line(error)
        raise DamagedError(
            f"{path}: cannot be read as Parquet ({cause}). Delete it, then run `dvc repro`."
        ) from None
    finally:
        pyarrow.set_memory_pool(usual_pool)
    return frame


def write_arrays(path: Path | str, arrays: dict[str, np.ndarray]) -> None:
    """Write NumPy arrays as an uncompressed .npz without time stamps, so that equal arrays give
    equal bytes; `ValueError` for arrays of Python objects.
    """
    import numpy as np

    if any(np.asarray(array).dtype.hasobject for array in arrays.values()):
        raise ValueError(f"{path}: objects are not saved, since reading them would run code.")
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        by_name: Any = dict(sorted(arrays.items()))
        np.savez(file, **by_name)


def read_arrays(path: Path | str) -> dict[str, np.ndarray]:
    """The arrays of an .npz by name.

    Raises `DamagedError` for a file that is absent, cut short, no .npz, or holds Python objects,
    since reading those could run code.
    """
    import zipfile

    import numpy as np

    try:
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DamagedError(
            f"{path}: cannot be read ({one_line(error)}). Take the file from where it was made, or"
            " train the model again."
        ) from None


def move_aside(path: Path) -> Path:
    """Rename a damaged file to `<name>.damaged-<number>`, the first free number; the new path."""
    number = 1
    while (target := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    path.rename(target)
    return target


def sha256(path: Path | str) -> str:
    """The digest of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_changed(root: Path, paths: Sequence[Path], digests: Sequence[str]) -> Path | None:
    """The first of the files `paths` below `root` whose digest is no longer the one in `digests`;
    None without such a file. Missing files do not count, nor paths beyond the end of `digests`.
    """
    for path, digest in zip(paths, digests, strict=False):
        if (root / path).is_file() and sha256(root / path) != digest:
            return path
    return None


def sha256_of(content: Any) -> str:
    """The digest of content that JSON can hold, independent of the order of keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


@contextmanager
def hold_lock(path: Path | str, *, purpose: str, timeout: float = 0.0) -> Iterator[None]:
    """Hold the lock file `path`, with this process's PID in a file beside it.

    Raises `BusyError` (exit code 75) naming the holder's PID when the lock is still taken after
    `timeout` seconds.
    """
    import filelock  # not at import: `status` does without it

    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(target, timeout=timeout)
    holder = target.with_suffix(".pid")
    try:
        lock.acquire()
    except filelock.Timeout:
        pid = holder.read_text(encoding="utf-8").strip() if holder.exists() else ""
        raise BusyError(
            f"{purpose} is already running (PID {pid or 'unknown'}, lock {target}). Wait for it to"
            " end, or stop that process."
        ) from None
    try:
        with suppress(OSError):  # a full disk: `forecast clean` has to work there
            holder.write_text(f"{os.getpid()}\n", encoding="utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def remove_leftovers(
    folder: Path | str, name: str = "", *, besides: Sequence[str] = ()
) -> list[Path]:
    """Remove the temporary files and folders that a killed process left below `folder`, as
    `find_leftovers` lists them; returns the removed paths. An old folder whose successor is missing
    is put back instead.
    """
    removed = []
    # contents before their folder, which may be renamed
    for path in reversed(find_leftovers(folder, name, besides=besides)):
        clear = _restore_or_remove if path.match(f"*{ASIDE_PATTERN}") else remove
        if clear(path):
            removed.append(path)
    return removed


def find_leftovers(
    folder: Path | str, name: str = "", *, besides: Sequence[str] = ()
) -> list[Path]:
    """The temporary files and folders below `folder`, a folder before its contents. They are left
    over only if no process writes there now.

    name: only those of targets whose name begins with this glob pattern. besides: folders in
    `folder` that are left out, since another lock guards what is written there.
    """
    return [
        path
        for path in Path(folder).rglob(f"{TEMPORARY}{name}*")
        if path.exists() and path.relative_to(folder).parts[0] not in besides
    ]


def remove(path: Path) -> bool:
    """Remove a file or a folder, which may be missing; returns whether it is gone."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    return not path.exists()


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A temporary folder, removed at the end of the block; after a kill -9 the next call of
    `scratch_folder` removes it.
    """
    clear_scratch()
    with tempfile.TemporaryDirectory(prefix=f"{_scratch_prefix()}{os.getpid()}-") as name:
        yield Path(name)


def clear_scratch() -> list[Path]:
    """Remove the scratch folders of processes of this machine that have ended; returns the removed
    paths.
    """
    prefix = _scratch_prefix()
    removed = []
    for path in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        pid = path.name.removeprefix(prefix).partition("-")[0]
        if pid.isdigit() and not processes.is_alive(int(pid)) and remove(path):
            removed.append(path)
    return removed


def _scratch_prefix() -> str:
    """Contains the host's name: containers may share a folder, but their PIDs are their own."""
    return f"forecast-{socket.gethostname()}-"
