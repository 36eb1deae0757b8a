"""ARIMA with its orders chosen by AICc (statsforecast's AutoARIMA), the season given by Fourier terms or not at all.

Seasonal orders take a minute or more per thousand hourly rows, `fourier` pairs of sine and cosine a second. Without
them the season is not modelled, so such an entry is left out where there is one.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from forecast.models.statistical import StatisticalSpec

Order = tuple[int, int, int]


def _one_d(orders: tuple[Order, ...]) -> tuple[Order, ...]:
    if len({d for _, d, _ in orders}) != 1:
        raise ValueError(f"found {list(orders)}, wanted at least one order, all with one d: AICc compares no two d")
    return orders


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, list | tuple) and value and isinstance(value[0], int) else value


Orders = Annotated[tuple[Order, ...], BeforeValidator(_listed), AfterValidator(_one_d)]


class Spec(StatisticalSpec):
    method: ClassVar[str] = "auto_arima"
    summary: ClassVar[str] = "ARIMA, orders given or chosen by AICc on the last rows of the train range."
    equation: ClassVar[str] = "phi(B) (1-B)^d (y[t] - c'f[t]) = theta(B) e[t]; f: Fourier terms of the season"
    source: ClassVar[str] = "Box & Jenkins 1970; Hyndman & Khandakar 2008"

    family: Literal["auto_arima"] = "auto_arima"
    fourier: int = Field(0, ge=0, description="pairs of sine and cosine, at most as many as the season has")
    order: Orders | None = Field(None, description="p, d, q, or a list of such with one d; else AICc searches")
    last: int = Field(
        2000, ge=50, description="rows it is fitted on; choosing an order on ten thousand takes ten minutes"
    )

    def unsuited(self, season_length: int) -> str:
        if self.fourier and season_length < 3:
            return f"Fourier terms need a season of at least 3 steps; this dataset has {season_length}"
        if not self.fourier and season_length > 1:
            return f"an ARIMA without Fourier terms leaves out the season of {season_length} steps"
        return ""

    def options(self, season_length: int) -> dict[str, Any]:
        given = {"orders": self.order} if self.order is not None else {}
        return {"fourier": min(self.fourier, (season_length - 1) // 2), "last": self.last, **given}
