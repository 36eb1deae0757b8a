"""Records and forecasts on disk become a leaderboard and losses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from forecast.comparison import comparing
from forecast.data.splits import Borders
from forecast.system import files
from forecast.system.errors import InputError
from tests.support import example_data

HOURS = pd.date_range("2024-01-01", periods=12, freq="h").as_unit("ns")
BORDERS = Borders(HOURS[3], HOURS[6], HOURS[8], HOURS[11])
DATASET = example_data.dataset(season=1, horizon=2)
FRAME = pd.DataFrame({"unique_id": "a", "ds": HOURS, "temp": [1.0, 2, 4, 7, 7, 8, 8, 9, 9, 10, 12, 14]})
CUTOFFS = {"validation": HOURS[3:5], "calibration": HOURS[6:7], "test": HOURS[8:10]}
COLUMNS = (
    "dataset model ranking skip seed status mae rmse mase rmsse smape direction direction_base skill "
    "n_params n_origins validation_mase chosen"
)


def forecasts(error, seeds=(0,)):
    """What errs by `error` times its seed's number + 1, everywhere; None: naive."""
    y = FRAME.set_index("ds")["temp"]
    rows = []
    for block, cutoffs in CUTOFFS.items():
        for cutoff in cutoffs:
            for step in (1, 2):
                ds = cutoff + pd.Timedelta(hours=step)
                for seed in seeds:
                    y_hat = y[cutoff] if error is None else y[ds] + error * (seed + 1)
                    rows.append(("a", cutoff, step, ds, block, seed, "temp", y[ds], y_hat))
    names = ["unique_id", "cutoff", "step", "ds", "block", "seed", "output", "y", "y_hat"]
    return pd.DataFrame(rows, columns=names)


def write(folder, candidate, content, *, status="ok", **record):
    model, _, skip = candidate.partition(".")
    ranking = {"linear": "shipped", "last": "architecture"}.get(skip, "baseline")
    skip_row = {"linear": "ridge", "last": "naive"}.get(skip)
    entry = {"candidate": candidate, "model": model, "ranking": ranking, "skip": skip or None, "skip_row": skip_row}
    files.write_json(folder / candidate / "record.json", {**entry, "status": status, "n_params": 5, **record})
    if content is not None:
        files.write_frame(folder / candidate / "forecasts.parquet", content)


@pytest.fixture
def trained(tmp_path):
    write(tmp_path, "naive", forecasts(None), n_params=0)
    write(tmp_path, "ridge", forecasts(1.0))
    write(tmp_path, "net.linear", forecasts(0.5, seeds=(0, 1)))
    write(tmp_path, "net.last", None, status="failed", n_params=0)
    return tmp_path


def scored(folder):
    return comparing.score(folder, FRAME, DATASET, BORDERS)


def test_scales_come_from_the_train_rows_and_naive_from_the_scored_ones():
    reference = comparing.references(FRAME, forecasts(None), DATASET, BORDERS, "test")
    assert reference.scale["a"].value == 2  # (1 + 2 + 3) / 3
    assert reference.squared_scale["a"].value == pytest.approx(np.sqrt(14 / 3))
    assert reference.naive["a"].tolist() == [1.5, 3.5]  # |10-9|, |12-10| and |12-9|, |14-10|
    assert comparing.references(FRAME, forecasts(None), DATASET, BORDERS, "validation").naive["a"].tolist() == [0.5, 1]


def test_the_leaderboard_has_one_row_per_seed_their_mean_their_spread_and_the_ensemble(trained):
    board = comparing.leaderboard(scored(trained), {"shipped": "net", "architecture": "naive"}, "example")
    assert list(board.columns) == COLUMNS.split()
    rows = board.groupby(["model", "ranking"], sort=False)["seed"].agg(list).to_dict()
    assert rows == {
        ("naive", "baseline"): ["0", "mean"],
        ("net", "architecture"): ["mean"],
        ("net", "shipped"): ["0", "1", "ensemble", "mean", "std"],
        ("ridge", "baseline"): ["0", "mean"],
    }
    net = board[board["ranking"] == "shipped"].set_index("seed")
    assert net["mae"].to_dict() == {
        "0": 0.5, "1": 1.0, "ensemble": 0.75, "mean": 0.75, "std": pytest.approx(0.25 * np.sqrt(2)),
    }  # fmt: skip
    assert net.loc["mean", ["mase", "validation_mase", "n_params", "n_origins"]].tolist() == [0.375, 0.375, 5, 2]
    assert net.loc["mean", "skill"] == pytest.approx(1 - 0.75 / 2.5)
    assert board[board["model"] == "naive"]["skill"].tolist() == [0, 0]


def test_a_failed_candidate_is_one_row_that_says_so(trained):
    board = comparing.leaderboard(scored(trained), {}, "example")
    (failed,) = board[board["status"] == "failed"].to_dict("records")
    assert (failed["model"], failed["skip"], failed["n_origins"]) == ("net", "last", 0)
    assert np.isnan(failed["mae"]) and not failed["chosen"]


def test_the_choice_is_marked_on_the_mean_and_the_ensemble_alone(trained):
    board = comparing.leaderboard(scored(trained), {"shipped": "net", "architecture": "naive"}, "example")
    marked = board[board["chosen"]]
    assert marked[["model", "seed"]].apply(tuple, axis=1).tolist() == [
        ("naive", "mean"), ("net", "ensemble"), ("net", "mean"),
    ]  # fmt: skip


def test_the_choice_sees_validation_and_no_test_score(trained):
    """The same on test, worse on validation: the validation column says so."""
    worse = forecasts(0.5, seeds=(0, 1))
    worse.loc[worse["block"] == "validation", "y_hat"] += 10
    write(trained, "other.linear", worse)
    board = comparing.leaderboard(scored(trained), {}, "example").query("seed == 'mean' and ranking == 'shipped'")
    net, other = (board[board["model"] == name].iloc[0] for name in ("net", "other"))
    assert net["mase"] == other["mase"] and other["validation_mase"] > net["validation_mase"] + 4


def test_a_loss_is_the_scaled_error_averaged_over_the_horizon(trained):
    everything = scored(trained)
    scale = comparing.references(FRAME, everything[0].forecasts, DATASET, BORDERS, "test").scale
    losses = comparing.losses(everything, scale, "test")
    assert list(losses.columns) == comparing.LOSS_COLUMNS
    assert set(losses["model"]) == {"naive", "ridge", "net"}
    naive = losses[losses["model"] == "naive"].sort_values("cutoff")
    assert naive["loss"].tolist() == [1.0, 1.5]  # (1 + 3) / 2 and (2 + 4) / 2, over the scale 2
    net = losses[losses["model"] == "net"]
    assert net.groupby("seed")["loss"].mean().to_dict() == {0: 0.25, 1: 0.5}
    assert set(net["skip"]) == {"ridge"} and naive["skip"].isna().all()
    assert (losses.groupby(["model", "seed"]).size() == 2).all()


def test_a_missing_actual_leaves_the_rest_of_its_origin(trained):
    content = forecasts(1.0)
    content.loc[(content["block"] == "test") & (content["step"] == 2), "y"] = np.nan
    write(trained, "ridge", content)
    everything = scored(trained)
    scale = comparing.references(FRAME, forecasts(None), DATASET, BORDERS, "test").scale
    losses = comparing.losses(everything, scale, "test")
    assert losses[losses["model"] == "ridge"]["loss"].tolist() == [0.5, 0.5]


def test_without_naive_there_is_nothing_to_score_against(tmp_path):
    write(tmp_path, "ridge", forecasts(1.0))
    with pytest.raises(InputError, match=r"no forecasts of 'naive'.*Put `naive` into the grid"):
        scored(tmp_path)
