"""The fit of a statistical model to one target of one series, and its JSON in a saved model.

`SeriesModel` is the fitted model: a frozen dataclass of numbers in the file of its family, whose
`forecasts` runs the fitted recursion over a series. `SeriesFit` adds what a later forecast needs
besides: the constant that was added to the values, and the time of the first row.
`models.statistical` and its families make these fits; `Forecaster` saves and loads them.
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
        """Forecasts (n_origins, horizon) of the sequence y (T,), which has no gaps.

        Row k is made from y[: origins[k] + 1] alone. `origins` (n_origins,) are in rising order. A
        fitted recursion gets none before the last row that it was fitted to.
        """


@dataclass(frozen=True)
class SeriesFit:
    """The fitted model of one target of one series."""

    model: SeriesModel
    begins: str
    """Time of the first row of the fit (ISO format to the second), where the recursion starts."""
    offset: float
    """The constant that is added to the scaled values before the fit. Where all values are above
    zero it is the scaled centre of the train rows, so that 0 is the target's own zero; else 0.
    """


def fits_to_json(fits_by_series: Mapping[str, Sequence[SeriesFit]]) -> dict[str, PlainValue]:
    """The JSON content: by series, a list with the fit of each target."""
    content: dict[str, PlainValue] = {}
    for uid, fits in fits_by_series.items():
        content[uid] = [{**vars(fit), "model": vars(fit.model)} for fit in fits]
    return content


def fits_from_json(
    model_class: type[SeriesModel], content: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[str, list[SeriesFit]]:
    """The fits whose `fits_to_json` gave `content`; `model_class`: the `SeriesModel` of the
    family.
    """

    def read_fit(entry: Mapping[str, Any]) -> SeriesFit:
        fields = {name: _as_tuples(value) for name, value in entry["model"].items()}
        return SeriesFit(model_class(**fields), entry["begins"], entry["offset"])

    return {uid: [read_fit(entry) for entry in entries] for uid, entries in content.items()}


def _as_tuples(value: Any) -> Any:
    """`value` with every JSON list turned into a tuple, at any depth."""
    if isinstance(value, list):
        return tuple(_as_tuples(item) for item in value)
    return value
