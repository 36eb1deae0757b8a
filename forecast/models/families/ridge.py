"""Ridge regression on everything the networks see: the default skip, standing alone as a row of its own."""

from __future__ import annotations

from typing import ClassVar, Literal

from forecast.models.base import LinearSpec


class Spec(LinearSpec):
    summary: ClassVar[str] = "Ridge on lookback differences, exogenous lags and calendar: the skip alone."
    equation: ClassVar[str] = "y[t+h] - y[t] = B_h' [y[t-k] - y[t], x[t-k], f[t+1..t+H]] + b_h"
    source: ClassVar[str] = "Hoerl & Kennard 1970; NLinear of Zeng et al. 2023 without exogenous inputs"

    family: Literal["ridge"] = "ridge"
