"""Rows of a benchmark in a JSON file that is written after every row, so that an interrupted run
goes on where it was.

A file belongs to one machine: rows of another are never added to it.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import os
import platform
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forecast.system.errors import ForecastError, InputError
from forecast.system.files import read_json, write_json

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"
Row = dict[str, Any]


def machine() -> dict[str, Any]:
    """What tells one kind of machine from another; no names."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory GB": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    lines = described.read_text(encoding="utf-8").splitlines() if described.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or "unknown"


def options_of(doc: str | None, data: Path | None = None) -> argparse.ArgumentParser:
    """What every command that fills such a file can be told; `data`: where its series are by
    default.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if data is not None:
        parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--only", default="", help="rows whose key contains this")
    parser.add_argument("--again", action="store_true", help="measure rows anew that the file has")
    return parser


def command(main: Callable[[], None]) -> Callable[[], int]:
    """The exit code of `forecast` for it; what is expected to go wrong is one line."""

    @functools.wraps(main)
    def run() -> int:
        try:
            main()
        except ForecastError as error:
            print(error, file=sys.stderr)
            return error.exit_code
        except KeyboardInterrupt:
            print(
                "\nInterrupted. Rows that were measured are kept; the same command goes on from"
                " there.",
                file=sys.stderr,
            )
            return 130
        return 0

    return run


def select_keys(keys: Iterable[str], only: str) -> list[str]:
    """The keys that contain `only`; `InputError` where none does."""
    every = list(keys)
    if selected := [key for key in every if only in key]:
        return selected
    groups = ", ".join(dict.fromkeys(f"{key.partition('/')[0]}/..." for key in every))
    raise InputError(
        f"{only!r} is part of no row's name; rows are called {groups}, {every[-1]} among them."
    )


@dataclass
class ResultsFile:
    """The rows of one benchmark by key, in the order in which they were first measured."""

    path: Path
    machine: Mapping[str, Any] = field(default_factory=machine)
    rows: dict[str, Row] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rows = self._read_rows()

    def _read_rows(self) -> dict[str, Row]:
        """The file's rows as it now is; `InputError` where it is of another machine, put there
        since or not.
        """
        if not self.path.exists():
            return self.rows
        content = read_json(self.path)
        if content["machine"] != dict(self.machine):
            other, this = _describe_machine(content["machine"]), _describe_machine(self.machine)
            raise InputError(
                f"{self.path} was measured on another machine ({other}), this one is {this}: rows"
                " of two machines are not mixed. To measure here, move the file away:"
                f" mv {self.path} {self.path}.other"
            )
        return dict(content["rows"])

    def missing(
        self, keys: Iterable[str], options: argparse.Namespace, few: Collection[str] = ()
    ) -> Iterator[str]:
        """Of what was asked for, the keys to measure: those not done or in `few`, every one with
        `--again`.
        """
        return (
            key
            for key in select_keys(keys, options.only)
            if options.again or key in few or not self.done(key)
        )

    def done(self, key: str) -> bool:
        """Measured already, all peers included; a row that says why it was not run is tried
        again.
        """
        return _whole(self.rows.get(key, {"not run": "never"}))

    def write(self, key: str, row: Row) -> None:
        """Into the file as it now is: another command may have written rows of its own since this
        one began.

        A row that was measured before is not replaced by the reason why it, or a peer of it, could
        not be again.
        """
        self.rows = self._read_rows()
        if self.done(key) and not _whole(row):
            return
        load = round(os.getloadavg()[0], 1)
        self.rows[key] = row | {"date": datetime.date.today().isoformat(), "load": load}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, {"machine": dict(self.machine), "rows": self.rows})


def _whole(row: Row) -> bool:
    return not any("not run" in part for part in (row, *row.get("peers", {}).values()))


def _describe_machine(described: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in described.items())
