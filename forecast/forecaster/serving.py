"""One request to a served model: a history in, its forecast out; every fault of the request is an `InputError`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecast.data.calendars import check_calendar
from forecast.data.panel import Panel, from_frame
from forecast.data.schema import check_frame, first_outside
from forecast.forecaster import Forecaster
from forecast.forecaster.ensemble import MANIFEST, Ensemble, latest
from forecast.system.errors import InputError, quote_names, quoted

WHERE = "request"
MOST_ROWS, MOST_ROWS_OF_A_RECURSION = 200_000, 10_000_000


@dataclass(frozen=True)
class Service:
    """A loaded ensemble that answers requests; stateless."""

    ensemble: Ensemble

    @classmethod
    def load(cls, folder: Path) -> Service:
        """`folder` holds a saved ensemble, or one forecaster without calibration errors."""
        if (folder / MANIFEST).exists():
            return cls(Ensemble.load(folder))
        return cls(Ensemble((Forecaster.load(folder),)))

    def answer(self, history: Any, horizon: int = 0, levels: Sequence[float] = ()) -> pd.DataFrame:
        """The frame of `ensemble.latest`, times as ISO text; `levels` in percent, `horizon` 0: as trained."""
        wanted = horizon or self.ensemble.task.horizon
        ensemble = self.ensemble.reaching(wanted)
        shares = tuple(float(level) / 100 for level in np.atleast_1d(np.asarray(levels, dtype=float)))
        self._require_calibrated(wanted, shares)
        panel = self._panel(history, ensemble)
        with np.errstate(over="ignore", invalid="ignore"):
            table = latest(ensemble, panel, horizon=wanted, levels=shares)
        if not np.isfinite(table["y_hat"].to_numpy()).all():
            largest = max(float(np.nanmax(np.abs(series.values))) for series in panel.series)
            raise InputError(
                f"{WHERE}: the forecast from this history is no finite number; its largest value is {largest:g}. "
                "Correct the values."
            )
        for name in ("cutoff", "ds"):
            table[name] = np.datetime_as_string(table[name].to_numpy(), unit="s")
        return table

    def _require_calibrated(self, horizon: int, levels: Sequence[float]) -> None:
        trained = self.ensemble.task.horizon
        if levels and horizon > trained:
            raise InputError(
                f"Levels with horizon {horizon}: intervals are calibrated for {trained} steps. "
                f"Ask for at most {trained} steps, or for no levels."
            )

    def _panel(self, history: Any, ensemble: Ensemble) -> Panel:
        task = ensemble.task
        columns = [column.name for column in task.columns]
        if not ensemble.keeps_its_start:
            raise InputError(
                "This version was saved without the first row of its recursion, so that a forecast from another first "
                "row would be wrong in silence. Train it again (`forecast retrain`), or forecast from the stored "
                "snapshot (`forecast predict`)."
            )
        checked = check_frame(_times(_frame(history, ensemble)), columns, where=WHERE)
        check_calendar(checked, task.calendar, where=WHERE)
        panel = from_frame(ensemble.newest(checked), ensemble.dataset_name, task)
        require_known(panel, ensemble)
        require_observed(panel)
        return panel


def _frame(history: Any, ensemble: Ensemble) -> pd.DataFrame:
    if not isinstance(history, pd.DataFrame):
        raise InputError(
            f"{WHERE}: found {type(history).__name__}, wanted a table with one row per series and time. "
            "Send `dataframe_split` or `dataframe_records`."
        )
    most = MOST_ROWS_OF_A_RECURSION if ensemble.reads_all else MOST_ROWS
    if len(history) > most:
        remedy = "Serve a model that reads its lookback alone" if ensemble.reads_all else "Send the newest ones"
        raise InputError(f"{WHERE}: found {len(history)} rows, wanted at most {most}. {remedy}.")
    return history


def _times(history: pd.DataFrame) -> pd.DataFrame:
    """`ds` as UTC without zone: JSON has no times, only text."""
    if "ds" not in history or history["ds"].dtype.kind == "M":
        return history
    text = history["ds"].astype("str")
    times = pd.to_datetime(text, utc=True, format="ISO8601", errors="coerce").dt.tz_localize(None)
    unread = times.isna().to_numpy() | np.array([not isinstance(v, str) for v in history["ds"]], dtype=bool)
    position = int(np.argmax(unread)) if unread.any() else first_outside(times)
    if position is not None:
        raise InputError(
            f"{WHERE}, row {position}: column 'ds' holds {quoted(history['ds'].iloc[position])}, wanted ISO 8601 "
            "times such as 2026-06-30T23:00, between 1678 and 2199. Correct the row."
        )
    return history.assign(ds=times.astype("datetime64[ns]"))


def require_known(panel: Panel, ensemble: Ensemble, *, where: str = WHERE) -> None:
    known = ensemble.forecasters[0].scaling.centre
    unknown = panel.by_id.keys() - known.keys()
    if unknown:
        raise InputError(f"{where}: series {quote_names(unknown)} not known; wanted {quote_names(known)}.")


def require_observed(panel: Panel, *, where: str = WHERE) -> None:
    """A column without `max_missing` must be complete in the rows a forecast sees; no column may be empty there."""
    task = panel.task
    for series in panel.series:
        seen = np.isfinite(series.values[-task.lookback :])
        for column, observed in zip(task.columns, seen.T, strict=True):
            missing = int((~observed).sum())
            if missing and (not column.may_be_missing or missing == len(observed)):
                raise InputError(
                    f"{where}, series {series.unique_id!r}: column {column.name!r} misses {missing} of the last "
                    f"{len(observed)} steps (a row left out counts), wanted "
                    f"{'none' if not column.may_be_missing else 'some value'}. Complete the history."
                )
