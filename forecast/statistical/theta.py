"""The standard Theta method (Assimakopoulos & Nikolopoulos 2000): `auto_theta` with the form fixed at STM, theta 2."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from forecast.statistical import auto_theta

FITTED = auto_theta.Theta


def fit(y: npt.NDArray[np.float64], season: int, options: dict[str, Any]) -> auto_theta.Theta:
    """`options`: `decomposition_type` ("multiplicative"; additive where a value is not positive)."""
    return auto_theta.fit(y, season, {**options, "model": "STM"})
