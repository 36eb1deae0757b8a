"""The forecasts of the service that the data come from, as they stood when each of our forecasts is made."""

from __future__ import annotations

from typing import ClassVar, Literal

from forecast.models.base import ServiceSpec


class Spec(ServiceSpec):
    summary: ClassVar[str] = "What the weather service itself had forecast by then: nothing here is fitted."
    equation: ClassVar[str] = "y[t+h] = s(t+h; u), u the newest issue <= t"
    source: ClassVar[str] = "the service's own archive of forecasts, with the time of their issue"

    family: Literal["service"] = "service"
