"""The base class of the settings of data sources, and how those of each kind are found.

A source is a module of forecast/data/sources/ with a class `Settings` (a `Source`, or a
`RemoteSource` for a web service) and a function `read`. `config` may not import `data`, so the
module is imported by name, the `kind` of an entry, when the entry is read. Nothing is registered.
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


def _require_bare_host(value: str) -> str:
    """The address itself without a slash at its end; `ValueError` for more than scheme and host."""
    if not re.fullmatch(r"https?://[A-Za-z0-9.-]+(:\d{1,5})?/?", value):
        raise ValueError("wanted http(s)://host without path, query or password")
    return value.rstrip("/")


Url = Annotated[str, AfterValidator(_require_bare_host)]


class Source(Config):
    """Base class of all settings. The defaults suit a source without network that is read whole."""

    kind: str
    is_remote: ClassVar[bool] = False
    """Whether a server, such as a web service, sends the rows: they are then as of the request,
    and continue the stored ones.
    """
    error_class: ClassVar[type[ForecastError]] = InputError
    """The error for wrong rows: of the user's files, or of a service."""
    described_as: ClassVar[str] = "the source"
    """The origin of the rows, in messages."""
    is_for_personal_use: ClassVar[bool] = False
    """Whether its terms forbid values in a page that may be passed on."""
    has_new_rows: ClassVar[bool] = True
    """Whether it gets new rows with time, so that stored rows grow old."""

    @model_validator(mode="wrap")
    @classmethod
    def _of_its_kind(cls, value: Any, handler: ModelWrapValidatorHandler[Source]) -> Source:
        """The `Settings` of the module that `kind` names, for a mapping that is read as a `Source`;
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
        """The series that are requested one after the other; empty where all are read at once."""
        return ()

    @property
    def overlap(self) -> timedelta | None:
        """How much of a stored history is requested again; None where the source is read whole."""
        return None

    @property
    def adjustment(self) -> Adjustment:
        """How stage `prepare` adjusts prices that are stored as traded."""
        return "none"

    @property
    def vintage_columns(self) -> tuple[str, ...]:
        """The columns whose forecasts by the provider can be stored."""
        return ()

    @property
    def files(self) -> tuple[Path, ...]:
        """The user's files that it reads, from the project's root; the file of the rows first."""
        return ()

    @property
    def local_zone(self) -> str:
        """The time zone in which its times are written, and forecasts are shown; empty for UTC."""
        return ""

    def identity(self, vintage_columns: Sequence[str]) -> dict[str, Any]:
        """The settings that have to stay the same for stored rows and forecasts to be continued."""
        content = self.model_dump(mode="json")
        return {key: content[key] for key in ("kind", "base_url", "start") if key in content}

    def narrowed_to(self, revised: Collection[str]) -> Source | None:
        """The source with only the `revised` series, whose older rows may have changed too. None
        where it has none of them or cannot be narrowed: nothing is read again.
        """
        return None


class RemoteSource(Source):
    """The settings of every web service: address, overlap with stored rows, deadline per
    dataset.
    """

    is_remote: ClassVar[bool] = True
    error_class: ClassVar[type[ForecastError]] = DataError
    start: date
    base_url: Url
    deadline_s: float = Field(300.0, gt=0)
    overlap_days: int = Field(14, ge=1)

    @property
    def overlap(self) -> timedelta:
        """`overlap_days` as a span of time."""
        return timedelta(days=self.overlap_days)


def source_kinds() -> list[str]:
    """The names of the modules in forecast/data/sources/."""
    folder = Path(__file__).resolve().parents[1] / "data" / "sources"
    return sorted(module.name for module in pkgutil.iter_modules([str(folder)]))
