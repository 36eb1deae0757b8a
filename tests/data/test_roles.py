"""What is said of the columns of a dataset."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from forecast.data.columns import add_known_ahead
from forecast.data.roles import describe_roles
from tests.support.example_data import dataset


def test_closed_days_do_not_hide_that_a_promotion_sells():
    """Every seventh day is closed; a promotion, on a fifth of the days, adds half."""
    draw = np.random.default_rng(5)
    days = np.arange(700)
    promotion = (draw.random(700) < 0.2).astype(float)
    sales = np.where(days % 7 == 6, 0.0, 100 * (1 + 0.5 * promotion)) + draw.normal(0, 5, 700)
    frame = pd.DataFrame(
        {
            "unique_id": "shop",
            "ds": pd.date_range("2023-01-02", periods=700).as_unit("ns"),
            "temp": sales,
            "promotion": promotion,
        }
    )
    settings = dataset(
        calendar={"kind": "regular", "freq": "1D"},
        season_length=7,
        future_exogenous=[{"column": "promotion", "known_ahead": True}],
    )
    roles = describe_roles(add_known_ahead(frame, settings), settings)
    (described,) = [role.data for role in roles if role.column == "promotion"]
    r = re.search(r"over 7 steps at the same time goes with the target's by r = \+(.*)", described)
    assert r is not None and float(r[1]) > 0.8
