"""The Theta method with its form chosen: standard, optimised or dynamic (statsforecast's AutoTheta)."""

from __future__ import annotations

from typing import ClassVar, Literal

from forecast.models.statistical import StatisticalSpec


class Spec(StatisticalSpec):
    method: ClassVar[str] = "auto_theta"
    summary: ClassVar[str] = (
        "The Theta form with the lowest squared error on the train range, after removing the season."
    )
    equation: ClassVar[str] = "mean of a trend line and a theta line, smoothed; theta and alpha optimised"
    source: ClassVar[str] = "Fiorucci, Pellegrini, Louzada, Petropoulos & Koehler 2016"

    family: Literal["auto_theta"] = "auto_theta"
