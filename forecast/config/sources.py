"""What the source of a dataset says of itself, and how the settings of each kind are found.

A source is one file in forecast/data/sources/ with a class `Settings` (a `Source`, or a
`RemoteSource` that is asked over the network) and a function `read`. `config` may not
import `data`, so the file is imported by its name, the `kind` of an entry, when that entry is read.

The next source is such a file; nothing is registered. What all sources may be asked is a property
of `Source`.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Collection, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic.functional_validators import ModelWrapValidatorHandler

from forecast.config.reading import Config
from forecast.system.errors import DataError, ForecastError, InputError, require_known

PACKAGE = "forecast.data.sources"
Adjustment = Literal["splits_and_dividends", "splits", "none"]


def _scheme_and_host_only(value: str) -> str:
    if not re.fullmatch(r"https?://[A-Za-z0-9.-]+(:\d{1,5})?/?", value):
        raise ValueError("wanted http(s)://host without path, query or password")
    return value.rstrip("/")


Url = Annotated[str, AfterValidator(_scheme_and_host_only)]


class Source(Config):
    """Base of all settings.

    The defaults suit a source without network that is read whole each time.
    """

    kind: str
    is_remote: ClassVar[bool] = False
    """Whether it is asked over the network: its rows are then as of the moment of asking, and go on
    from those stored before.
    """
    fault: ClassVar[type[ForecastError]] = InputError
    """Raised for wrong rows: they are the user's, or those of a service."""
    origin: ClassVar[str] = "the source"
    """What its rows come from, in messages."""
    is_for_personal_use: ClassVar[bool] = False
    """Whether its terms forbid to show values in a page that may be passed on."""
    has_new_rows: ClassVar[bool] = True
    """Whether rows come with time, so that they grow old."""

    @model_validator(mode="wrap")
    @classmethod
    def _of_its_kind(cls, value: Any, handler: ModelWrapValidatorHandler[Source]) -> Source:
        """The `Settings` of the module that `kind` names, where a mapping is read as a `Source`;
        `ValueError` for a kind without a module.
        """
        if cls is not Source or not isinstance(value, dict):
            return handler(value)
        kind, known = str(value.get("kind")), source_kinds()
        require_known(kind, known, "unknown kind", ValueError)
        settings: type[Source] = importlib.import_module(f"{PACKAGE}.{kind}").Settings
        return settings.model_validate(value)

    @property
    def series(self) -> tuple[str, ...]:
        """The series that are asked for one after the other; empty where all are read at once."""
        return ()

    @property
    def overlap(self) -> timedelta | None:
        """How much of a stored history is asked for again; None where it is read whole each
        time.
        """
        return None

    @property
    def adjustment(self) -> Adjustment:
        """What prepare applies to prices that are stored as traded."""
        return "none"

    @property
    def vintage_columns(self) -> tuple[str, ...]:
        """The columns of which the provider's own forecasts can be kept."""
        return ()

    @property
    def files(self) -> tuple[Path, ...]:
        """The user's own files that it reads, from the project's root; that of the rows first."""
        return ()

    @property
    def clock(self) -> str:
        """The time zone in which its rows are written, and forecasts for people; empty for UTC."""
        return ""

    def identity(self, vintage_columns: Sequence[str]) -> dict[str, Any]:
        """What has to stay the same for a stored history, and the forecasts kept beside it, to be
        continued.
        """
        content = self.model_dump(mode="json")
        return {key: content[key] for key in ("kind", "base_url", "start") if key in content}

    def narrowed_to(self, revised: Collection[str]) -> Source | None:
        """The source narrowed to the `revised` series, whose older rows may have changed too. None
        where there are none, and for a kind of source that cannot be narrowed: nothing is read
        again.
        """
        return None


class RemoteSource(Source):
    """What every web service has: hosts, overlap with what is stored, one deadline per
    dataset.
    """

    is_remote: ClassVar[bool] = True
    fault: ClassVar[type[ForecastError]] = DataError
    start: date
    base_url: Url
    deadline_s: float = Field(300.0, gt=0)
    overlap_days: int = Field(14, ge=1)

    @property
    def overlap(self) -> timedelta:
        """`overlap_days` as a span of time."""
        return timedelta(days=self.overlap_days)


def source_kinds() -> list[str]:
    """The names of the files in forecast/data/sources/."""
    folder = Path(__file__).resolve().parents[1] / "data" / "sources"
    return sorted(module.name for module in pkgutil.iter_modules([str(folder)]))
