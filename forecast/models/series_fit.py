"""What a statistical model leaves of one target of one series, and its JSON in a saved model.

`SeriesModel` is the fitted model: a frozen dataclass of plain numbers in the file of its family,
whose `forecasts` runs the fitted recursion over a series. `SeriesFit` is that model with what a
later forecast must know besides: what was added to the values and the time of the first row.
Nothing is fitted here, and no library is loaded: a saved model forecasts from these numbers.

For `models.statistical` and the families that derive from it.

Another number that a forecast needs of the fit is a field of the family's `SeriesModel`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from forecast.config.reading import PlainValue

Array = npt.NDArray[np.float64]
RowNumbers = npt.NDArray[np.int64]


class SeriesModel(Protocol):
    """A fitted model of one sequence of values: a frozen dataclass of numbers, words and tuples."""

    def forecasts(self, y: Array, origins: RowNumbers, horizon: int) -> Array:
        """Forecasts (n_origins, horizon) of the sequence y (T,), gaps filled.

        Row k is made from y[: origins[k] + 1] and from nothing after it. `origins` (n_origins,)
        rise, and none lies before the last row of the fit where the model is a recursion.
        """


@dataclass(frozen=True)
class SeriesFit:
    """The fitted model of one target of one series."""

    model: SeriesModel
    begins: str
    """Time of the first row of its fit, ISO format to the second: its recursion starts there."""
    added: float
    """What was added to the scaled values before the fit: where all values lie above zero, the
    centre of the train rows, so that 0 is the target's own zero; else 0.
    """


def fits_to_json(fits_by_series: Mapping[str, Sequence[SeriesFit]]) -> dict[str, PlainValue]:
    """By series a list, for each target its fit with the numbers of its model."""
    content: dict[str, PlainValue] = {}
    for uid, fits in fits_by_series.items():
        content[uid] = [{**vars(fit), "model": vars(fit.model)} for fit in fits]
    return content


def fits_from_json(
    model_class: type[SeriesModel], content: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[str, list[SeriesFit]]:
    """What `fits_to_json` gave; `model_class`: the dataclass of numbers of the family."""
    fits_by_series = {}
    for uid, entries in content.items():
        fits_by_series[uid] = [_fit_from_json(model_class, entry) for entry in entries]
    return fits_by_series


def _fit_from_json(model_class: type[SeriesModel], entry: Mapping[str, Any]) -> SeriesFit:
    numbers = {name: _as_tuples(value) for name, value in entry["model"].items()}
    return SeriesFit(model_class(**numbers), entry["begins"], entry["added"])


def _as_tuples(value: Any) -> Any:
    """Every list of JSON as a tuple, at any depth; everything else as it is."""
    if isinstance(value, list):
        return tuple(_as_tuples(item) for item in value)
    return value
