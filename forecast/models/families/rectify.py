"""The mixed strategy in closed form: a one-step ridge iterated, and a direct ridge on what it leaves of each step."""

from __future__ import annotations

from typing import ClassVar, Literal

from forecast.models.base import LinearSpec


class Spec(LinearSpec):
    corrected: ClassVar[bool] = True
    summary: ClassVar[str] = (
        "One-step ridge ARX fed with its own forecasts, each step of the horizon corrected directly."
    )
    equation: ClassVar[str] = "y[t+h] = arx[t+h] + C_h' [y[t-k] - y[t], x[t-k], f[t+1..t+H]] + c_h"
    source: ClassVar[str] = "Ben Taieb & Hyndman 2012, RECTIFY"

    family: Literal["rectify"] = "rectify"
