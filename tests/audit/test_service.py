"""A dataset with the service's own forecasts under audit: issues of after a moment reach no row of
before it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from forecast.audit.changes import nudge
from forecast.audit.sandbox import Project, run_stages
from forecast.config.datasets import load_dataset
from forecast.data.ingest import fetch_snapshot
from forecast.data.sources import Request
from tests.support.example_data import write_project
from tests.support.services import Services, serving

NOW, MOMENT = pd.Timestamp("2024-06-03 21:00"), pd.Timestamp("2024-05-25 06:00")


def test_an_issue_of_after_a_moment_reaches_no_row_of_before_it(tmp_path: Path):
    issued_columns = [{"column": "temp", "max_missing": 0.1, "issued": True}]
    with serving(Services(now=NOW)) as services:
        source = {
            "kind": "open_meteo",
            "places": {"rome": {"latitude": 41.89, "longitude": 12.48}},
            "variables": {"temp": "temperature_2m"},
            "start": "2024-05-01",
            "base_url": services.url,
            "previous_runs_url": services.url,
            "issue_delay_h": 1,
        }
        write_project(
            tmp_path, rome={"source": source, "horizon": 24, "future_exogenous": issued_columns}
        )
        fetch_snapshot(
            Request("rome", load_dataset("rome", tmp_path / "configs"), tmp_path), now=NOW
        )
    (tmp_path / "configs" / "tuning.yaml").write_text("")
    (tmp_path / "configs" / "models.yaml").write_text("models: {}")
    project = Project.of(tmp_path, "rome")
    frames = []
    for number, moment in enumerate((None, MOMENT)):
        folder = tmp_path / f"sandbox-{number}"
        results_folder = run_stages(
            project, project.frame, folder, after=moment, stages=("fetch", "prepare")
        )
        frames.append(
            pd.read_parquet(results_folder.prepared / "frame.parquet").set_index("ds")[
                ["temp+1", "temp+24"]
            ]
        )
    nudged = run_stages(
        project,
        project.frame,
        tmp_path / "nudged",
        after=MOMENT,
        change=nudge,
        stages=("fetch", "prepare"),
    )
    moved = pd.read_parquet(nudged.prepared / "frame.parquet").set_index("ds")[
        ["temp+1", "temp+24"]
    ]
    as_it_is, changed = frames
    # a choice between two losses must not turn
    np.testing.assert_allclose(moved, as_it_is, rtol=1e-6)
    # nothing but a zero stays
    assert (moved != as_it_is)[MOMENT + pd.Timedelta("2D") :].mean().min() > 0.9
    assert as_it_is.notna().all(axis=None)
    pd.testing.assert_frame_equal(as_it_is[:MOMENT], changed[:MOMENT])
    later_cutoff = MOMENT + pd.Timedelta("2D")
    assert (np.abs(as_it_is[later_cutoff:] - changed[later_cutoff:]) > 500).all(axis=None)
