"""Open-Meteo's archive of gridded hourly weather, and its own forecasts with the time of their
issue.

The units °C, mm, m/s, hPa, % and W/m² are requested, and an answer in others (`UNITS_NOT_READ`) is
refused. An hour counts as observed if it has ended by `as_of`. The last days are provisional, and
read again at the next fetch; so are hours that the archive lacks and the forecast service has.

`read` returns hourly rows in UTC, cut at `as_of`; `Settings` checks the entry.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field, field_validator

from forecast.config.reading import Config
from forecast.config.sources import RemoteSource, Url
from forecast.data import web
from forecast.data.calendars import DAY, next_steps
from forecast.data.records import SnapshotRecord
from forecast.data.sources import RawFrame, Request, keep_known
from forecast.data.web import Deadline, TransientError
from forecast.system.errors import DataError, InputError

DAYS_PER_REQUEST = 366
PAST_DAYS = 92
"""The number of past days that the forecast service has."""
CLOCK_TOLERANCE = pd.Timedelta("10min")
FORECAST_DAYS = 7
REQUESTED_UNITS = {
    "temperature_unit": "celsius",
    "wind_speed_unit": "ms",
    "precipitation_unit": "mm",
}
UNITS_NOT_READ = ("°F", "km/h", "mp/h", "mph", "kn", "inch", "in")


class Place(Config):
    """A place, in degrees."""

    latitude: float = Field(ge=-90, le=90)
    longitude: float = Field(ge=-180, le=180)


class Settings(RemoteSource):
    """Hourly weather by Open-Meteo's archive; `variables` maps our column names to the service's.

    Units are °C, mm, m/s, hPa, % and W/m². `provisional_days`: the last days, which are read again
    at the next fetch. `recent_url`: a forecast service whose past days fill in for hours that the
    archive lacks. `forecast_url`: the service whose own forecasts are stored too;
    `previous_runs_url`: those that it has archived. They count as issued `issue_delay_h` after the
    hour that the archive states, since a model run takes hours to be published. `api_key_env`: the
    environment variable with a customer's key.
    """

    kind: Literal["open_meteo"]
    places: dict[str, Place] = Field(min_length=1)
    variables: dict[str, str] = Field(min_length=1)
    provisional_days: int = Field(5, ge=0)
    base_url: Url = "https://archive-api.open-meteo.com"
    recent_url: Url | None = None
    forecast_url: Url | None = None
    previous_runs_url: Url | None = None
    issue_delay_h: float = Field(8.0, ge=0)
    api_key_env: str | None = Field(None, pattern=r"^[A-Z][A-Z0-9_]*$")

    @field_validator("variables")
    @classmethod
    def _plain_names(cls, value: dict[str, str]) -> dict[str, str]:
        """Refuses names that could change the request."""
        for name in (*value, *value.values()):
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,63}", name):
                raise ValueError(
                    f"variable {name!r}: wanted letters, digits and _ such as temperature_2m"
                )
        return value

    @property
    def series(self) -> tuple[str, ...]:
        """The names of the places."""
        return tuple(self.places)

    @property
    def vintage_columns(self) -> tuple[str, ...]:
        """All variables, where the service's forecasts are stored."""
        return tuple(self.variables) if self.forecast_url or self.previous_runs_url else ()

    def identity(self, vintage_columns: Sequence[str]) -> dict[str, Any]:
        """Also the places, the variables and the source of the forecasts."""
        content = self.model_dump(mode="json", include={"variables", "places"})
        archive = [*vintage_columns, self.previous_runs_url]
        vintages = {"vintages": archive} if vintage_columns else {}
        return super().identity(vintage_columns) | content | vintages


def read(request: Request) -> RawFrame:
    """The hours of every place up to `request.as_of`, and the service's forecasts where they are
    stored. `DataError` where one place fails, as the others alone would be another dataset.
    """
    source = request.dataset.source
    assert isinstance(source, Settings) and request.as_of is not None
    client = _Client(request, source)
    frames, faults = [], list[str]()
    provisional = [request.as_of.normalize() - pd.Timedelta(source.provisional_days, "D")]
    for name in source.places:
        try:
            frames.append(client.history(name))
            if source.recent_url:
                frames.append(client.recent(name, frames[-1]["ds"].max()))
                provisional += frames[-1]["ds"].head(1).tolist()
        except DataError as error:
            faults.append(str(error))
        request.advance(name)
    if faults:
        raise DataError(" ".join(faults))
    frame, as_of = keep_known(request, pd.concat(frames, ignore_index=True))
    return RawFrame(
        frame,
        as_of,
        where=f"Open-Meteo, dataset {request.name!r}",
        provenance=_provenance(source),
        provisional_from=min(provisional),
        vintages=client.vintages(),
    )


class _Client:
    """Requests one place at a time, within the deadline."""

    def __init__(self, request: Request, source: Settings) -> None:
        """source: the settings of the request's dataset."""
        assert request.as_of is not None
        self.request, self.source, self.as_of = request, source, request.as_of
        self.deadline = request.deadline or Deadline(source.deadline_s)
        self.service_time = request.as_of  # until the service answers

    def _first_day(self, name: str) -> pd.Timestamp:
        """The first day that is requested for a place."""
        return self.request.first_time(name, self.source.start).normalize()

    def history(self, name: str) -> pd.DataFrame:
        """The archive's hours of a place, to the end of the day of `as_of`."""
        first = self._first_day(name)
        last = self.as_of.normalize()
        url = f"{self.source.base_url}/v1/archive"
        frame = pd.concat(
            self._ask_by_year(name, url, first, last, self.source.variables), ignore_index=True
        )
        return frame[(frame["ds"] >= first) & (frame["ds"] < last + DAY)]

    def recent(self, name: str, after: pd.Timestamp) -> pd.DataFrame:
        """The hours of a place after the archive's last one, `after` (NaT: there is none), by the
        forecast service, which goes `PAST_DAYS` back.
        """
        today = self.as_of.normalize()
        earliest = max(self._first_day(name), today - pd.Timedelta(PAST_DAYS, "D"))
        first = earliest if pd.isna(after) else max(after.normalize(), earliest)
        url = f"{self.source.recent_url}/v1/forecast"
        (frame,) = self._ask_by_year(name, url, first, today, self.source.variables)
        if self.as_of > self.service_time + CLOCK_TOLERANCE:
            raise DataError(
                f"Open-Meteo, place {name!r}: asked for hours up to {self.as_of:%Y-%m-%d %H:%M}"
                f" UTC, but the service's clock says {self.service_time:%Y-%m-%d %H:%M}: its"
                " forecasts would count as observations. Set this machine's clock."
            )
        return frame[frame["ds"] >= first] if pd.isna(after) else frame[frame["ds"] > after]

    def vintages(self) -> pd.DataFrame | None:
        """`unique_id, ds, issued_at` and columns for every place; None where no forecasts are
        stored.
        """
        variables = {
            name: self.source.variables[name] for name in self.request.dataset.vintage_columns
        }
        frames: list[pd.DataFrame] = []
        for name in self.source.places if variables else ():
            if self.source.previous_runs_url:
                frames += self._ask_archived(name, variables)
            if self.source.forecast_url:
                frames.append(self._ask_newest(name, variables))
        return pd.concat(frames, ignore_index=True) if frames else None

    def _ask_newest(self, name: str, variables: dict[str, str]) -> pd.DataFrame:
        """The newest forecasts, of hours that have not begun when the service answers. They are
        issued then, even if `as_of` is earlier.
        """
        window = {"forecast_days": str(FORECAST_DAYS)}
        frame = self._ask(name, f"{self.source.forecast_url}/v1/forecast", window, variables)
        frame.insert(2, "issued_at", max(self.as_of, self.service_time))
        return frame[frame["ds"] >= frame["issued_at"]]

    def _ask_archived(self, name: str, variables: dict[str, str]) -> Iterator[pd.DataFrame]:
        """Forecasts made one, two, ... days before each hour, as many days as the horizon needs but
        at most `FORECAST_DAYS`, issued by `as_of`.
        """
        delay = pd.Timedelta(self.source.issue_delay_h, "h")
        # the days from the issue of a forecast to the end of the horizon; the same at any cutoff,
        # since only a calendar of every hour takes these rows
        cutoff, dataset = pd.Timestamp("2024-01-01"), self.request.dataset
        longest_lead = next_steps(dataset.calendar, cutoff, dataset.horizon)[-1] - cutoff + delay
        leads = range(1, min(FORECAST_DAYS, int(np.ceil(longest_lead / DAY))) + 1)
        archived_variables = {}
        for lead in leads:
            for ours, theirs in variables.items():
                archived_variables[f"{ours}@{lead}"] = f"{theirs}_previous_day{lead}"
        first = self._first_day(name)
        last = self.as_of.normalize() + pd.Timedelta(max(leads), "D")
        for answer in self._ask_by_year(
            name, f"{self.source.previous_runs_url}/v1/forecast", first, last, archived_variables
        ):
            for lead in leads:
                names = {f"{ours}@{lead}": ours for ours in variables}
                issue = answer[["unique_id", "ds", *names]].rename(columns=names)
                issue = issue.dropna(how="all", subset=list(variables))
                issue.insert(2, "issued_at", issue["ds"] - pd.Timedelta(lead, "D") + delay)
                yield issue[issue["issued_at"] <= self.as_of]

    def _ask_by_year(
        self,
        name: str,
        url: str,
        first: pd.Timestamp,
        last: pd.Timestamp,
        variables: dict[str, str],
    ) -> Iterator[pd.DataFrame]:
        """The answers for a place from day `first` to day `last`, each of at most a year."""
        while first <= last:
            end = min(first + pd.Timedelta(DAYS_PER_REQUEST - 1, "D"), last)
            window = {"start_date": f"{first:%Y-%m-%d}", "end_date": f"{end:%Y-%m-%d}"}
            yield self._ask(name, url, window, variables)
            first = end + DAY

    def _ask(
        self, name: str, url: str, window: dict[str, str], variables: dict[str, str]
    ) -> pd.DataFrame:
        """The hours of a place as a frame (unique_id, ds, `variables`), with retries. Sets
        `service_time` from the service's clock.
        """
        what, place = f"Open-Meteo, place {name!r}", self.source.places[name]
        params = {
            "latitude": f"{place.latitude:g}",
            "longitude": f"{place.longitude:g}",
            "hourly": ",".join(variables.values()),
            "timezone": "GMT",
            **REQUESTED_UNITS,
            **window,
        }
        key = self.request.environment.get(self.source.api_key_env or "")
        if key:
            params["apikey"] = key
        deadline = self.deadline

        def ask_once() -> dict[str, Any]:
            """One attempt, which also sets `service_time`."""
            answer = web.get(url, params, deadline=deadline, what=what)
            date = web.parse_http_date(answer.headers.get("date", ""))
            if date is not None:
                self.service_time = pd.Timestamp(date).tz_localize(None)
            return _parse_answer(answer, what)

        return _hours_to_frame(deadline.call_with_retries(what, ask_once), variables, name, what)


def _parse_answer(answer: web.Answer, what: str) -> dict[str, Any]:
    """The JSON of a successful answer. Raises `TransientError` for a fault that may pass (busy,
    5xx), `InputError` for a request that is refused as wrong, else `DataError`.
    """
    if answer.status == 200:
        content = answer.json()
        if not isinstance(content, dict):
            raise DataError(
                f"{what}: found {type(content).__name__} in the answer, wanted one place."
            )
        return content
    reason = _error_reason(answer)
    wait_seconds = web.parse_retry_after(answer.headers)
    # waits for limits per minute and of concurrent requests, not for hourly or daily ones
    if answer.status == 429:
        if "inutely" in reason or "concurrent" in reason or wait_seconds is not None:
            raise TransientError(
                f"answered 429 ({reason})", wait_seconds if wait_seconds is not None else 60.0
            )
        raise DataError(f"{what}: rate limit reached ({reason}). Fetch again after that.")
    if answer.status >= 500:
        raise TransientError(f"answered {answer.status} ({reason})", wait_seconds)
    if answer.status == 400:
        raise InputError(
            f"{what}: refused the question: {reason}. Correct it in configs/datasets.yaml."
        )
    raise DataError(f"{what}: answered {answer.status} ({reason}).")


def _error_reason(answer: web.Answer) -> str:
    """The reason that the service gives, else the content type."""
    try:
        return str(answer.json()["reason"])[:200]
    except (TransientError, KeyError, TypeError):
        return answer.headers.get("content-type", "no reason given")


def _hours_to_frame(
    content: dict[str, Any], variables: dict[str, str], name: str, what: str
) -> pd.DataFrame:
    """The long rows of a place from the content of an answer, without hours that have no value.
    `DataError` for another time zone, name or shape than requested, and for a unit of
    `UNITS_NOT_READ`. name: the series; what: the beginning of a message.
    """
    if content.get("utc_offset_seconds", 0) != 0:
        raise DataError(
            f"{what}: times are {content.get('timezone')!r}, wanted GMT as asked. Nothing was"
            " taken."
        )
    parts = (content.get(key) for key in ("hourly", "hourly_units"))
    hourly, units = (part if isinstance(part, dict) else {} for part in parts)
    absent = [theirs for theirs in ("time", *variables.values()) if theirs not in hourly]
    if absent:
        raise DataError(
            f"{what}: the answer lacks {absent}; the service renamed or dropped it. Nothing was"
            " taken."
        )
    for theirs in variables.values():
        if units.get(theirs) in UNITS_NOT_READ:
            requested = sorted(REQUESTED_UNITS.values())
            raise DataError(
                f"{what}: {theirs} came in {units[theirs]}, wanted {requested} as asked."
            )
    try:
        times = pd.to_datetime(pd.Series(hourly["time"]), format="ISO8601")
        columns = {
            ours: np.array(list(hourly[theirs]), float) for ours, theirs in variables.items()
        }
        frame = pd.DataFrame({"unique_id": name, "ds": times.astype("datetime64[ns]"), **columns})
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{what}: the answer holds what is no time or number ({error}). Nothing was taken."
        ) from None
    # the archive is some days behind: its last hours have no values
    return frame.dropna(how="all", subset=list(columns))


def _provenance(source: Settings) -> SnapshotRecord:
    """The source's part of a snapshot's record."""
    return {
        "source": "open_meteo",
        "parameters": {
            "base_url": source.base_url,
            "places": {name: place.model_dump() for name, place in source.places.items()},
            "variables": source.variables,
            "start": source.start.isoformat(),
            **({"recent_url": source.recent_url} if source.recent_url else {}),
            "timezone": "GMT",
            **REQUESTED_UNITS,
        },
        "adjustment": "none",
    }
