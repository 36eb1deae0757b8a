"""Family `theta`: the standard Theta method, which is `auto_theta` with its form given
(statsforecast's Theta).

Fit and forecast are those of `families.auto_theta.Theta`.

`Spec` (an `auto_theta.Spec`) holds the options of an entry of configs/models.yaml with this family.
`fit_model` is given one series' values (T,) up to the end of the fit, without a gap, and its season
in steps, and returns a `Theta`, fitted anew at every refit; forecasts read rows up to their cutoff
only. Another form of the method is an option of `families.auto_theta`.
"""

from __future__ import annotations

from forecast.models.families import auto_theta
from forecast.models.families.auto_theta import Theta
from forecast.models.series_fit import Array, SeriesModel


class Spec(auto_theta.Spec):
    """Options of an entry of this family, and its fit."""

    summary = "Simple exponential smoothing with half the linear trend, after removing the season."
    equation = "mean of the theta lines 0 (trend) and 2 (smoothed)"
    source = "Assimakopoulos & Nikolopoulos 2000; Fiorucci et al. 2016"

    def fit_model(self, y: Array, season: int, before: SeriesModel | None) -> Theta:
        """The standard form, fitted anew every time."""
        return Theta.fit(y, season, form="STM")
