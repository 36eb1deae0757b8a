"""Open-Meteo's archive of gridded hourly weather, and its own forecasts kept apart with the time they were issued.

Units are asked for and checked in the answer: °C, mm, m/s, hPa, %, W/m². An hour counts as observed once it has ended
before `as_of`; the archive's last days are provisional and read again at the next fetch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from forecast.config.datasets import Dataset
from forecast.config.sources import OpenMeteoSource, Place
from forecast.data.calendars import following
from forecast.data.sources import web
from forecast.data.sources.interface import RawFrame, Request, observed
from forecast.data.sources.patience import Patience, Transient
from forecast.system.errors import DataError, InputError

DAYS_PER_REQUEST = 366
FORECAST_DAYS = 7
UNITS = {"temperature_unit": "celsius", "wind_speed_unit": "ms", "precipitation_unit": "mm"}
REFUSED_UNITS = ("°F", "km/h", "mp/h", "mph", "kn", "inch", "in")


def read(request: Request) -> RawFrame:
    source = request.dataset.source
    assert isinstance(source, OpenMeteoSource) and request.as_of is not None
    budget = _Budget(request.patience or Patience(source.deadline_s), source.weight_per_minute)
    frames, failed = [], {}
    for name, place in source.places.items():
        try:
            frames.append(_history(request, source, name, place, budget))
        except DataError as error:
            failed[name] = str(error)
        request.advance(name)
    if failed:  # one city more or less is not the same data set: places are all or nothing
        raise DataError("; ".join(failed.values()))
    frame, as_of = observed(request, pd.concat(frames, ignore_index=True))
    return RawFrame(
        frame,
        as_of,
        where=f"Open-Meteo, dataset {request.name!r}",
        provenance=_provenance(source),
        provisional_from=as_of.normalize() - pd.Timedelta(source.provisional_days, "D"),
        issued=_issued(request, source, budget),
    )


def _history(request: Request, source: OpenMeteoSource, name: str, place: Place, budget: _Budget) -> pd.DataFrame:
    assert request.as_of is not None
    first, last = request.first(name, source.start).normalize(), request.as_of.normalize()
    parts = []
    for start, end in _years(first, last):
        window = {"start_date": f"{start:%Y-%m-%d}", "end_date": f"{end:%Y-%m-%d}"}
        days = (end - start).days + 1
        url = f"{source.base_url}/v1/archive"
        parts.append(_ask(request, source, name, place, budget, url, window, days, source.variables))
    frame = pd.concat(parts, ignore_index=True)
    return _once_each(frame[(frame["ds"] >= first) & (frame["ds"] < last + pd.Timedelta(1, "D"))], name)


def _years(first: pd.Timestamp, last: pd.Timestamp) -> Iterator[tuple[pd.Timestamp, pd.Timestamp]]:
    while first <= last:
        end = min(first + pd.Timedelta(DAYS_PER_REQUEST - 1, "D"), last)
        yield first, end
        first = end + pd.Timedelta(1, "D")


def _issued(request: Request, source: OpenMeteoSource, budget: _Budget) -> pd.DataFrame | None:
    """`unique_id, ds, issued_at, <said columns>` of every place; None where no forecasts are kept."""
    said = {name: source.variables[name] for name in request.dataset.said}
    frames: list[pd.DataFrame] = []
    for name, place in source.places.items() if said else ():
        if source.previous_runs_url:
            frames += _archived_issues(request, source, name, place, budget, said)
        if source.forecast_url:
            frames.append(_newest_issue(request, source, name, place, budget, said))
    return pd.concat(frames, ignore_index=True) if frames else None


def _newest_issue(
    request: Request, source: OpenMeteoSource, name: str, place: Place, budget: _Budget, said: dict[str, str]
) -> pd.DataFrame:
    """Hours not yet begun, as the service forecasts them at `as_of`."""
    window = {"forecast_days": str(FORECAST_DAYS)}
    url = f"{source.forecast_url}/v1/forecast"
    frame = _ask(request, source, name, place, budget, url, window, FORECAST_DAYS, said)
    frame.insert(2, "issued_at", request.as_of)
    return frame[frame["ds"] >= frame["issued_at"]]


def _archived_issues(
    request: Request, source: OpenMeteoSource, name: str, place: Place, budget: _Budget, said: dict[str, str]
) -> Iterator[pd.DataFrame]:
    """What the service said one, two, ... days before each hour, as far back as the horizon needs, up to `as_of`."""
    assert request.as_of is not None
    delay = pd.Timedelta(source.issue_delay_h, "h")
    leads = range(1, _days_ahead(request.dataset, delay) + 1)
    asked = {f"{ours}@{lead}": f"{theirs}_previous_day{lead}" for lead in leads for ours, theirs in said.items()}
    last = request.as_of.normalize() + pd.Timedelta(max(leads), "D")
    for start, end in _years(request.first(name, source.start).normalize(), last):
        window = {"start_date": f"{start:%Y-%m-%d}", "end_date": f"{end:%Y-%m-%d}"}
        url = f"{source.previous_runs_url}/v1/forecast"
        answer = _ask(request, source, name, place, budget, url, window, (end - start).days + 1, asked)
        for lead in leads:
            values = answer[[f"{ours}@{lead}" for ours in said]].set_axis(list(said), axis=1)
            issue = pd.concat([answer[["unique_id", "ds"]], values], axis=1).dropna(how="all", subset=list(said))
            issue.insert(2, "issued_at", issue["ds"] - pd.Timedelta(lead, "D") + delay)
            yield issue[issue["issued_at"] <= request.as_of]


def _days_ahead(dataset: Dataset, delay: pd.Timedelta) -> int:
    """How many days before an hour the service must have spoken so that the whole horizon of a cutoff is covered."""
    start = pd.Timestamp("2024-01-01")
    reach = following(dataset.calendar, start, dataset.horizon)[-1] - start
    return min(FORECAST_DAYS, int(np.ceil((reach + delay) / pd.Timedelta(1, "D"))))


def _ask(
    request: Request,
    source: OpenMeteoSource,
    name: str,
    place: Place,
    budget: _Budget,
    url: str,
    window: dict[str, str],
    days: int,
    variables: dict[str, str],
) -> pd.DataFrame:
    what = f"Open-Meteo, place {name!r}"
    params = {
        "latitude": f"{place.latitude:g}",
        "longitude": f"{place.longitude:g}",
        "hourly": ",".join(variables.values()),
        "timezone": "GMT",
        **UNITS,
        **window,
    }
    key = request.environment.get(source.api_key_env) if source.api_key_env else None
    if key:
        params["apikey"] = key
    budget.spend(weight(len(variables), days), what)
    patience = budget.patience
    content = patience.call(what, lambda: _content(web.get(url, params, patience=patience, what=what), what))
    return _frame(content, variables, name, what)


def _content(answer: web.Answer, what: str) -> dict[str, Any]:
    """The JSON of a good answer; faults sorted into those that may pass and those that will not."""
    if answer.status == 200:
        content = answer.json()
        if not isinstance(content, dict):
            raise DataError(f"{what}: found {type(content).__name__} in the answer, wanted one place.")
        return content
    reason = _reason(answer)
    if answer.status == 429:
        _limited(answer, reason, what)
    if answer.status >= 500:
        raise Transient(f"answered {answer.status} ({reason})", web.waiting_time(answer))
    if answer.status == 400:
        raise InputError(f"{what}: refused the question: {reason}. Correct it in configs/datasets.yaml.")
    raise DataError(f"{what}: answered {answer.status} ({reason}).")


def _limited(answer: web.Answer, reason: str, what: str) -> None:
    """Minutely and concurrent limits pass soon; hourly and daily ones are not waited for."""
    told = web.waiting_time(answer)
    if "inutely" in reason or "concurrent" in reason or told is not None:
        raise Transient(f"answered 429 ({reason})", told if told is not None else 60.0)
    raise DataError(f"{what}: rate limit reached ({reason}). Fetch again after that.")


def _reason(answer: web.Answer) -> str:
    try:
        return str(answer.json()["reason"])[:200]
    except (Transient, KeyError, TypeError):
        return answer.headers.get("content-type", "no reason given")


def _frame(content: dict[str, Any], variables: dict[str, str], name: str, what: str) -> pd.DataFrame:
    if content.get("utc_offset_seconds", 0) != 0:
        raise DataError(f"{what}: times are {content.get('timezone')!r}, wanted GMT as asked. Nothing was taken.")
    hourly, units = content.get("hourly"), content.get("hourly_units", {})
    wanted = ["time", *variables.values()]
    if not isinstance(hourly, dict) or any(theirs not in hourly for theirs in wanted):
        absent = [theirs for theirs in wanted if not isinstance(hourly, dict) or theirs not in hourly]
        raise DataError(
            f"{what}: the answer lacks {absent}; the service has renamed or dropped it. Nothing was taken."
        )
    if len({len(hourly[theirs]) for theirs in wanted}) != 1:
        raise DataError(f"{what}: the columns of the answer differ in length. Nothing was taken.")
    for theirs in variables.values():
        if units.get(theirs) in REFUSED_UNITS:
            raise DataError(f"{what}: {theirs} came in {units[theirs]}, wanted {sorted(UNITS.values())} as asked.")
    try:
        times = pd.Series(pd.to_datetime(pd.Series(hourly["time"]), format="ISO8601")).astype("datetime64[ns]")
        columns = {ours: np.asarray(hourly[theirs], dtype=np.float64) for ours, theirs in variables.items()}
    except (ValueError, TypeError) as error:
        raise DataError(f"{what}: the answer holds what is no time or number ({error}). Nothing was taken.") from None
    # An hour without any value was not observed (the archive is some days behind): no row.
    return pd.DataFrame({"unique_id": name, "ds": times, **columns}).dropna(how="all", subset=list(columns))


def _once_each(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Equal copies of an hour are one; copies that differ cannot be decided."""
    single = frame.drop_duplicates()
    twice = single["ds"].duplicated()
    if twice.any():
        raise DataError(
            f"Open-Meteo, place {name!r}: {single.loc[twice, 'ds'].iloc[0]} came twice with different values."
        )
    return single.sort_values("ds", kind="stable")


def weight(variables: int, days: int) -> float:
    """How many calls the service counts for one place: more than 10 variables or 14 days count more."""
    return max(1.0, variables / 10) * max(1.0, days / 14)


class _Budget:
    """Spends at most `per_minute` of the service's weight in any minute; waits inside the deadline."""

    def __init__(self, patience: Patience, per_minute: float) -> None:
        self.patience, self.per_minute = patience, per_minute
        self.spent: list[tuple[float, float]] = []

    def spend(self, amount: float, what: str) -> None:
        while sum(a for _, a in self._recent()) + amount > self.per_minute and self._recent():
            self.patience.pause(self._recent()[0][0] + 60.0 - self.patience.clock(), what)
        self.spent.append((self.patience.clock(), amount))

    def _recent(self) -> list[tuple[float, float]]:
        return [(at, amount) for at, amount in self.spent if at > self.patience.clock() - 60.0]


def _provenance(source: OpenMeteoSource) -> dict[str, Any]:
    return {
        "source": "open_meteo",
        "parameters": {
            "base_url": source.base_url,
            "places": {name: place.model_dump() for name, place in source.places.items()},
            "variables": source.variables,
            "start": source.start.isoformat(),
            "timezone": "GMT",
            **UNITS,
        },
        "adjustment": "none",
    }
