"""Where the data of a dataset come from: one class per `source.kind`, with the same name as its file in sources/."""

from __future__ import annotations

import re
import zoneinfo
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from forecast.config.reading import Config
from forecast.system.errors import closest


class PackagedSource(Config):
    """Series that come with an installed package or with this project; no network."""

    kind: Literal["packaged"]
    name: str


class FileSource(Config):
    """The user's own CSV or Parquet. `columns` maps our names to the file's (`ds`, `unique_id` included)."""

    kind: Literal["file"]
    path: Path
    columns: dict[str, str] = Field(default_factory=dict)
    time_zone: str | None = None

    @field_validator("time_zone")
    @classmethod
    def _zone_exists(cls, value: str | None) -> str | None:
        if value is not None and value not in (names := zoneinfo.available_timezones()):
            raise ValueError(f"unknown time zone.{closest(value, names)} Wanted an IANA name such as Europe/Dublin")
        return value


class Service(Config):
    """What every source over the network has: hosts, overlap with what is stored, one deadline per dataset."""

    start: date
    base_url: str
    deadline_s: float = Field(300.0, gt=0)
    overlap_days: int = Field(14, ge=1)

    @field_validator("base_url", "forecast_url", "previous_runs_url", check_fields=False)
    @classmethod
    def _scheme_and_host_only(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[A-Za-z0-9.-]+(:\d{1,5})?/?", value):
            raise ValueError("wanted http(s)://host without path, query or password")
        return value.rstrip("/") if value else value


class YahooSource(Service):
    """Daily bars through yfinance, for personal use. Stored unadjusted, with their splits and dividends.

    `adjust` is applied in prepare. `max_failed`: the share of tickers that may fail before nothing is taken.
    """

    kind: Literal["yahoo"]
    tickers: tuple[str, ...] = Field(min_length=1)
    adjust: Literal["splits_and_dividends", "splits", "none"] = "splits_and_dividends"
    max_failed: float = Field(0.2, ge=0.0, lt=1.0)
    base_url: str = "https://query2.finance.yahoo.com"

    @field_validator("tickers")
    @classmethod
    def _plain_and_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for ticker in value:
            if not re.fullmatch(r"[A-Z0-9^][A-Z0-9.^=-]{0,19}", ticker):
                raise ValueError(f"ticker {ticker!r}: wanted capitals, digits and . ^ = - such as MSFT or ^VIX")
        if len(set(value)) < len(value):
            raise ValueError("a ticker stands twice")
        return value


class Place(Config):
    latitude: float = Field(ge=-90, le=90)
    longitude: float = Field(ge=-180, le=180)


class OpenMeteoSource(Service):
    """Hourly weather by Open-Meteo's archive; `variables` maps our column names to the service's.

    Units are °C, mm, m/s, hPa, % and W/m². The last `provisional_days` are read again at the next fetch. With
    `forecast_url` the service's own forecast is kept too, in a table apart, with `previous_runs_url` those it has
    archived; they count as issued `issue_delay_h` after the hour that the archive names, since a model run takes
    hours to be published. A paying customer's key is read from the environment variable `api_key_env`.
    `weight_per_minute`: what the service's rate limit allows.
    """

    kind: Literal["open_meteo"]
    places: dict[str, Place] = Field(min_length=1)
    variables: dict[str, str] = Field(min_length=1)
    provisional_days: int = Field(5, ge=0)
    weight_per_minute: float = Field(600.0, gt=0)
    base_url: str = "https://archive-api.open-meteo.com"
    forecast_url: str | None = None
    previous_runs_url: str | None = None
    issue_delay_h: float = Field(8.0, ge=0)
    api_key_env: str | None = Field(None, pattern=r"^[A-Z][A-Z0-9_]*$")

    @field_validator("variables")
    @classmethod
    def _plain_names(cls, value: dict[str, str]) -> dict[str, str]:
        for name in (*value, *value.values()):
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,63}", name):
                raise ValueError(f"variable {name!r}: wanted letters, digits and _ such as temperature_2m")
        return value


Source = Annotated[PackagedSource | FileSource | YahooSource | OpenMeteoSource, Field(discriminator="kind")]
