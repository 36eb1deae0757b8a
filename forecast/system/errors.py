"""The exceptions of the package, the exit codes of its commands, and helpers that word messages.

There is one exception per party that has to act; all derive from `ForecastError`. A message says
what is wrong, what was found, what was wanted, and what to do next.
"""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class ForecastError(Exception):
    """An expected failure: shown as one message, never as a traceback."""

    exit_code = 1


class InputError(ForecastError):
    """The user's configuration, file or argument is wrong."""

    exit_code = 2


class DataError(ForecastError):
    """A data service or its data are at fault, or (`DamagedError`) a file of the project."""

    exit_code = 3


class ChampionKeptError(ForecastError):
    """The challenger was not promoted."""

    exit_code = 4


class DamagedError(DataError):
    """A file that the project itself wrote is damaged or absent; no data service is at fault."""

    exit_code = 5


class BusyError(ForecastError):
    """Another process holds the lock, or no worker of a cluster answers."""

    exit_code = 75


ERROR_OF_CODE: dict[int, type[ForecastError]] = {
    kind.exit_code: kind
    for kind in (ForecastError, InputError, DataError, ChampionKeptError, DamagedError, BusyError)
}
"""The error class of each exit code, to raise again what a command of ours ended with."""


class ExitCode(NamedTuple):
    """What one exit code means; a row of the table in docs/running.md."""

    code: int
    outcome: str
    """A few words, for the scheduler's log."""
    meaning: str
    """A sentence."""
    next_step: str
    """Who should do what next."""


TIMED_OUT = 124
INTERRUPTED = 130
STOPPED = 143
EXIT_CODES = (
    ExitCode(0, "done", "done, or nothing was to do", "nobody"),
    ExitCode(
        1,
        "failed",
        "the machine or the code: a full disk, too little memory, a store that does not answer, a"
        " stage that was killed or has a bug; the message names it",
        "see below",
    ),
    ExitCode(
        2,
        "wrong input",
        "a configuration, file, name or argument is wrong; the message names the key or row and"
        " the next move",
        "you",
    ),
    ExitCode(
        3,
        "data",
        "a data service or its data are at fault",
        "wait, or choose another source",
    ),
    ExitCode(4, "not promoted", "`retrain`: the gate keeps the champion", "nobody"),
    ExitCode(
        5,
        "unhealthy",
        "something that the project keeps is damaged, missing or stale; `data`, `status`, `doctor`,"
        " `audit` and `watch` end with it when they find something",
        "do what the line says, often `forecast doctor --repair`",
    ),
    ExitCode(
        75,
        "busy: skipped",
        "another process works here already (the message names its PID), or a cluster does not"
        " answer",
        "wait, or start the cluster",
    ),
    ExitCode(
        TIMED_OUT,
        "timeout",
        "`schedule`: the job took longer than `timeout_minutes`",
        "see its log",
    ),
    ExitCode(INTERRUPTED, "interrupted", "interrupted with Ctrl-C or SIGTERM", "the same again"),
    ExitCode(STOPPED, "stopped", "`schedule`: the scheduler was told to end", "nobody"),
)
"""Every exit code of a command or of a scheduled job."""
UNHEALTHY = DamagedError.exit_code


class HealthCheck(NamedTuple):
    """One check of `forecast doctor`."""

    what: str
    """What was examined."""
    observation: str
    repair: str = ""
    """What to do; empty where all is well."""


def describe_exit_code(code: int) -> str:
    """The outcome in a few words; `failed` for a code that is not in `EXIT_CODES`."""
    return next((known.outcome for known in EXIT_CODES if known.code == code), "failed")


def combine_exit_codes(codes: Iterable[int]) -> int:
    """The exit code of a command with several failures: the highest of their codes, at least 1."""
    return max([ForecastError.exit_code, *codes])


class ModelError(ForecastError):
    """A model diverged or cannot be fitted: a result with status `failed`, not a crash."""


MOST_QUOTED = 60  # of a quoted value
MOST_NAMES = 100
LONGEST_WORD = 4096


def quote(value: object) -> str:
    """The value in quotes, control characters escaped; the middle of a long one is left out."""
    text, half = str(value), MOST_QUOTED // 2
    return repr(text if len(text) <= MOST_QUOTED else f"{text[:half]}…{text[-half:]}")


def one_line(words: object) -> str:
    """The text of an error or a library on one line."""
    return " ".join(str(words).split())


def shorten_message(message: str) -> str:
    """The message without the middle of long quoted values and of very long words."""
    shortened = re.sub(rf"'([^'\s]{{{MOST_QUOTED + 1},}})'", lambda match: quote(match[1]), message)
    return re.sub(rf"\S{{{5 * MOST_QUOTED},}}", lambda match: quote(match[0])[1:-1], shortened)


def require_short(words: Iterable[str]) -> None:
    """`InputError` for a word of a command line that is longer than any path or not printable."""
    for word in words:
        if len(word) > LONGEST_WORD or not word.isprintable():
            raise InputError(
                f"{quote(word)}: found {len(word):,} characters, wanted at most {LONGEST_WORD:,},"
                " all printable."
            )


def quote_names(names: Iterable[object]) -> str:
    """`'a', 'b'` of `['b', 'a']`: sorted and quoted, for messages; at most `MOST_NAMES` of them."""
    return list_first(sorted(map(str, names)), MOST_NAMES, quote)


MINUS = "−"


def with_minus(sentence: str) -> str:
    """The sentence with `−` for the hyphen of negative numbers; backticks quote code, as it is."""
    parts = sentence.split("`")
    parts[::2] = [re.sub(r"(?<!\S)(\(?)-(?=[\d.])", rf"\1{MINUS}", part) for part in parts[::2]]
    return "`".join(parts)


def list_first(items: Sequence[T], most: int, show: Callable[[T], str]) -> str:
    """`a, b and 3 more`: the first `most` items as `show` writes them, and how many follow."""
    n_left = len(items) - most
    more = f" and {n_left} more" if n_left > 0 else ""
    return ", ".join(map(show, items[:most])) + more


def plural(number: float, noun: str) -> str:
    """`1 row`, `1200 rows`."""
    ending = "" if round(number) == 1 else "s"
    return f"{number:.0f} {noun}{ending}"


def hours_or_days(hours: float) -> str:
    """`5 hours`; from 48 hours on in days: `3 days`."""
    return plural(hours / 24, "day") if hours >= 48 else plural(hours, "hour")


MEMORY_TEXT = re.compile("Cannot allocate memory|failed to map segment from shared object")
"""What the loader of shared libraries says when it has no memory to load one."""


def explain_out_of_memory(error: BaseException) -> str:
    """The message for an error that means too little memory; empty for any other error.

    Besides MemoryError these are an OSError with ENOMEM, and the ImportError or OSError of a shared
    library that does not fit into memory.
    """
    lines = [line for line in str(error).splitlines() if MEMORY_TEXT.search(line)]
    is_loader = isinstance(error, ImportError | OSError) and bool(lines)
    is_memory = isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM
    if not is_memory and not is_loader:
        return ""
    text = lines[-1] if is_loader else str(error)  # TensorFlow puts a whole traceback into it
    request = one_line(text) or "the array that was being made is the largest"
    return (
        f"Out of memory: {request}. Take fewer series or rows, a shorter `lookback`, or fewer"
        " processes at once (`--jobs 1`); then run the same command again."
    )


def explain(error: BaseException) -> tuple[str, int]:
    """The message and exit code of an error that a user can mend; an empty message for a bug.

    A user can mend a `ForecastError`, too little memory, a file or disk that cannot be used, and a
    text that the locale cannot encode.
    """
    if isinstance(error, ForecastError):
        return str(error), error.exit_code
    if isinstance(error, UnicodeEncodeError):
        return _explain_encoding(error), InputError.exit_code
    memory = explain_out_of_memory(error)
    if memory or not isinstance(error, OSError):
        return memory, ForecastError.exit_code
    # of a copied folder: the source, target and error of each file
    reason = error.args[0][0][-1] if isinstance(error, shutil.Error) else error
    advice = "Check the file, its permissions and the free space (`forecast clean`), then the same"
    is_name_too_long = error.errno == errno.ENAMETOOLONG
    code = InputError.exit_code if is_name_too_long else ForecastError.exit_code
    return f"{reason}. {advice} command again.", code


def _explain_encoding(error: UnicodeEncodeError) -> str:
    """The message for a path or text that the locale of this process cannot encode."""
    characters = error.object[error.start : error.end]
    return (
        f"{quote(error.object)}: found {quote(characters)}, which the locale's encoding"
        f" ({error.encoding}) does not have. Set LC_ALL=C.UTF-8 or PYTHONUTF8=1, then the same"
        " command again."
    )


def suggest_known(name: str, known: Iterable[object]) -> str:
    """` Did you mean 'x'? Known: 'x', 'y'`, the end of a message about an unknown name."""
    return f"{suggest(name, known)} Known: {quote_names(known)}"


def require_known(
    name: object, known: Collection[object], sentence: str, error: type[Exception] = InputError
) -> None:
    """Raises `error` where `known` lacks `name`.

    The message for the sentence `Unknown dataset` is `Unknown dataset 'x'. Did you mean 'y'? Known:
    'y'.`
    """
    if name not in known:
        raise error(f"{sentence} {name!r}.{suggest_known(str(name), known)}.")


def require_column(
    name: str,
    present: Collection[object],
    where: str,
    advice: str,
    error: type[ForecastError] = InputError,
) -> None:
    """Raises `error` where `present` lacks the column `name`.

    The message is `<where>: column 'x' is missing. Did you mean 'y'? Found 'y'. <advice>`.
    """
    if name not in present:
        fault = f"{where}: column {name!r} is missing.{suggest(name, present)}"
        raise error(f"{fault} Found {quote_names(present)}. {advice}")


def suggest(name: str, known: Iterable[object]) -> str:
    """` Did you mean 'x'?` where one of `known` is close to `name`, else empty; the case of letters
    does not matter.
    """
    import difflib

    small = {str(k).lower(): str(k) for k in known}
    matches = difflib.get_close_matches(name.lower(), small, n=1, cutoff=0.6)
    return f" Did you mean {small[matches[0]]!r}?" if matches else ""
