"""Errors by level of a hierarchy, in sentences."""

from __future__ import annotations

import pandas as pd

from forecast.comparison.levels import describe_levels


def test_a_network_of_both_rankings_is_described_by_the_errors_of_its_own() -> None:
    rows = [
        ("gru", "shipped", "total", 0.5, 1.0, 1.0),
        ("gru", "architecture", "total", 0.9, 1.0, 1.0),
        ("ridge", "baseline", "total", 0.8, 1.0, 1.0),
    ]
    columns = ["model", "ranking", "level", "mase", "mase_base", "mase_bottom_up"]
    table = pd.DataFrame(rows, columns=columns)
    shipped, architecture = describe_levels(table, {"shipped": "gru", "architecture": "gru"})
    assert shipped.startswith("As shipped: ") and "total -50.0 %" in shipped
    assert architecture.startswith("Architecture alone: ") and "total -10.0 %" in architecture
    (of_a_baseline,) = describe_levels(table, {"shipped": "ridge"})
    assert "total -20.0 % (-20.0 %)" in of_a_baseline
