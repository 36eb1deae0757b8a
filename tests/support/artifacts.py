"""Synthetic results of two tiny datasets, in the formats the pipeline's stages write.

`write_project(root)` fills `root` with configs/datasets.yaml and
data/{pointers,prepared,trained,compared}/ as if every stage before the report had run: one hourly
series, two daily price series, three networks, one failed candidate.
"""

from __future__ import annotations

import functools
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from forecast.system import files

SEEDS = (0, 1, 2)
RANKINGS = {"linear": "shipped", "last": "architecture"}
FAILED = ("narx", "last")
TOO_FEW = "9 calibration errors found for a step; an interval of 95 % takes at least 19."
# share of the naive error a candidate is left with, so every row has a known place
SHARE = {
    "naive": 1.0,
    "seasonal_naive": 0.9,
    "drift": 1.02,
    "ridge": 0.6,
    "lstm.linear": 0.56,
    "gru.linear": 0.6,
    "narx.linear": 0.64,
    "lstm.last": 0.7,
    "gru.last": 0.75,
}
KINDS = {"naive": "baseline", "seasonal_naive": "baseline", "drift": "baseline", "ridge": "linear"}
BASELINES = tuple(KINDS)
NETWORKS = ("gru", "lstm", "narx")
METRICS = ("mae", "rmse", "mase", "rmsse", "smape", "qlike", "direction", "direction_base", "skill")
BLOCKS = ("validation", "calibration", "test")

DATASETS: dict[str, Any] = {
    "hourly": {
        "title": "Hourly temperature of one town",
        "source": {"kind": "packaged", "name": "hourly"},
        "calendar": {"kind": "regular", "freq": "1h"},
        "target": {"column": "temperature", "unit": "°C"},
        "past_exogenous": [{"column": "wind", "unit": "m/s"}],
        "calendar_features": ["hour_of_day"],
        "horizon": 6,
        "lookback": 24,
        "season_length": 24,
        "step_size": 3,
        "splits": {
            "train_end": "2025-01-20",
            "validation_end": "2025-01-25",
            "calibration_end": "2025-01-30",
            "test_end": "2025-02-08",
        },
        "licence": {
            "name": "CC BY 4.0",
            "attribution": "Weather by Some Service",
            "note": "Gridded reanalysis, not a station.",
        },
    },
    "daily": {
        "title": "Two daily closing prices",
        "source": {"kind": "packaged", "name": "daily"},
        "calendar": {"kind": "sessions", "exchange": "XNYS"},
        "target": {
            "column": "close",
            "unit": "index points",
            "transform": "log",
            "difference_inputs": True,
        },
        "horizon": 3,
        "lookback": 10,
        "season_length": 1,
        "splits": {
            "train_end": "2016-12-30",
            "validation_end": "2017-03-31",
            "calibration_end": "2017-06-30",
            "test_end": "2017-10-31",
        },
        "licence": {
            "name": "public domain",
            "attribution": "Some exchange",
            "note": "No claim of return.",
        },
    },
}
UNSUPPORTED = ("daily", "Alpha & Co")
SERIES = {"hourly": ("town",), "daily": ("Alpha & Co", "Beta <B>")}


def write_project(
    root: Path | str, *, datasets: tuple[str, ...] = ("hourly", "daily"), cost: bool = False
) -> Path:
    """Write everything the report reads below `root`; returns `root`."""
    root = Path(root)
    content = {"run": list(datasets), "datasets": {name: DATASETS[name] for name in datasets}}
    files.write_text(
        root / "configs" / "datasets.yaml",
        yaml.safe_dump(content, allow_unicode=True, sort_keys=False),
    )
    for name in datasets:
        write_dataset(root, name)
        if cost:
            write_costs(root, name)
    return root


def write_dataset(root: Path, name: str) -> None:
    for path, content in _dataset_files(name).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)


@functools.cache
def _dataset_files(name: str) -> dict[Path, bytes]:
    """Path below the project → content; to compute them takes a CPU second."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _compute_dataset(root, name)
        written = [path for path in root.rglob("*") if path.is_file()]
        return {path.relative_to(root): path.read_bytes() for path in written}


def _compute_dataset(root: Path, name: str) -> None:
    truth = actuals(name)
    files.write_json(
        root / "data" / "pointers" / f"{name}.json", {"as_of": "2025-03-01", "sha256": "0" * 64}
    )
    files.write_json(root / "data" / "compared" / name / "quality.json", quality(name, truth))
    scores = []
    for candidate in candidates():
        folder = root / "data" / "trained" / name / candidate
        record = record_of(name, candidate)
        files.write_json(folder / "record.json", record)
        if record["status"] == "failed":
            scores.append(pd.DataFrame([{"candidate": candidate, "seed": 0}]))
            continue
        forecasts = forecasts_of(name, candidate, truth)
        files.write_frame(folder / "forecasts.parquet", forecasts)
        scores.append(errors_of(candidate, forecasts, truth))
    write_comparison(root / "data" / "compared" / name, name, pd.concat(scores))
    table = pd.concat([intervals_of(name, c) for c in candidates() if c.split(".") != list(FAILED)])
    compared = root / "data" / "compared" / name
    files.write_frame(compared / "intervals.parquet", table)
    files.write_frame(compared / "reliability.parquet", reliability(name))
    files.write_frame(compared / "crps.parquet", crps(name))
    files.write_frame(compared / "bands.parquet", bands(root / "data" / "trained" / name, name))


def candidates() -> list[str]:
    networks = [f"{model}.{skip}" for model in NETWORKS for skip in RANKINGS]
    return [*BASELINES, *networks]


def actuals(name: str) -> pd.DataFrame:
    """Every series on its grid, from the train start to the test end: unique_id, ds, y."""
    ends = DATASETS[name]["splits"]
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    frames = []
    for number, unique_id in enumerate(SERIES[name]):
        if name == "hourly":
            ds = pd.date_range("2025-01-01", f"{ends['test_end']} 23:00", freq="1h")
            daily = 4 * np.sin(2 * np.pi * (ds.hour.to_numpy() - 9) / 24)
            y = 8 + daily + np.cumsum(rng.normal(0, 0.3, len(ds)))
        else:
            ds = pd.bdate_range("2016-01-04", ends["test_end"])
            y = (1000 + 4000 * number) * np.exp(np.cumsum(rng.normal(0, 0.01, len(ds))))
        frames.append(pd.DataFrame({"unique_id": unique_id, "ds": ds, "y": y}))
    return pd.concat(frames, ignore_index=True)


def forecasts_of(name: str, candidate: str, truth: pd.DataFrame) -> pd.DataFrame:
    """The record's forecasts.parquet: the naive error shrunk to the candidate's share of it, plus
    noise.
    """
    dataset = DATASETS[name]
    rows = []
    for unique_id, series in truth.groupby("unique_id", sort=False):
        y, ds = series["y"].to_numpy(), series["ds"].to_numpy()
        block = block_of(name, series["ds"])
        for origin in range(
            dataset["lookback"], len(y) - dataset["horizon"], dataset.get("step_size", 1)
        ):
            steps = np.arange(1, dataset["horizon"] + 1)
            targets = origin + steps
            if block[origin] == "train" or block[origin] != block[targets[-1]]:
                continue
            rows.append(
                (unique_id, ds[origin], block[origin], steps, ds[targets], y[targets], y[origin])
            )
    return pd.concat(
        [_forecast_of_seed(candidate, seed, rows) for seed in seeds_of(candidate)],
        ignore_index=True,
    )


def _forecast_of_seed(candidate: str, seed: int, rows: list[Any]) -> pd.DataFrame:
    rng = np.random.default_rng(zlib.crc32(f"{candidate}{seed}".encode()))
    horizon = len(rows[0][3])
    y = np.stack([row[5] for row in rows])
    last = np.array([row[6] for row in rows])[:, None]
    share = SHARE[candidate]
    noise = 0.0 if candidate == "naive" else 0.03
    y_hat = y + (share + noise * rng.normal(size=y.shape)) * (last - y)
    return pd.DataFrame(
        {
            "unique_id": np.repeat([row[0] for row in rows], horizon),
            "cutoff": np.repeat([row[1] for row in rows], horizon),
            "step": np.tile(rows[0][3], len(rows)),
            "ds": np.concatenate([row[4] for row in rows]),
            "block": np.repeat([row[2] for row in rows], horizon),
            "seed": seed,
            "y": y.ravel(),
            "y_hat": y_hat.ravel(),
            "volatility": 1.0,
        }
    )


def intervals_of(name: str, candidate: str) -> pd.DataFrame:
    """Rows of `intervals`: each step covers its level, but at 95 % naive is 5 points short; the
    margin is its step.

    The calibration block of the first daily series supports no 95 % interval.
    """
    model, _, skip = candidate.partition(".")
    rows = []
    for series in SERIES[name]:
        for level in (80.0,) if (name, series) == UNSUPPORTED else (80.0, 95.0):
            nominal = level / 100
            covered = nominal - 0.05 * (candidate == "naive" and level == 95)
            for step in range(DATASETS[name]["horizon"] + 1):
                room = 0.06 if step else 0.03
                width = (2.0 * step or 7.0) * (2 if level == 95 else 1)
                row = {
                    "model": model,
                    "ranking": RANKINGS.get(skip, "baseline"),
                    "series": series,
                    "level": level,
                }
                row |= {
                    "step": step,
                    "n_calibration": 40,
                    "n": 60 if step else 360,
                    "coverage": covered,
                }
                row |= {
                    "low": nominal - room,
                    "high": nominal + room,
                    "inside": abs(covered - nominal) <= room,
                }
                rows.append({**row, "width": width, "winkler": 1.5 * width})
    return pd.DataFrame(rows)


def reliability(name: str) -> pd.DataFrame:
    """Of the chosen model, its skip and naive: every level is covered, but naive falls 5 points
    short.
    """
    rows = []
    for model, ranking in (("lstm", "shipped"), ("ridge", "baseline"), ("naive", "baseline")):
        for series in SERIES[name]:
            for level in (20.0, 50.0, 80.0, 95.0):
                nominal = level / 100
                row = {"model": model, "ranking": ranking, "series": series, "level": level}
                covered = nominal - 0.05 * (model == "naive")
                row |= {
                    "n_calibration": 40,
                    "n": 360,
                    "coverage": covered,
                    "low": nominal - 0.03,
                    "high": nominal + 0.03,
                }
                rows.append({**row, "inside": model != "naive", "width": 10 * nominal})
    return pd.DataFrame(rows)


def crps(name: str) -> pd.DataFrame:
    """Of the chosen model and naive: 0.7 and 0.9 in the series' unit, a tenth of it scaled."""
    rows = [
        (model, ranking, series, score, score / 10)
        for model, ranking, score in (("lstm", "shipped", 0.7), ("naive", "baseline", 0.9))
        for series in SERIES[name]
    ]
    return pd.DataFrame(rows, columns=["model", "ranking", "series", "crps", "scaled_crps"])


def bands(trained: Path, name: str) -> pd.DataFrame:
    """Of the chosen models: the seeds' mean, and half the width that `intervals_of` tells either
    way.
    """
    parts = []
    for candidate in ("lstm.linear", "lstm.last"):
        rows = pd.read_parquet(trained / candidate / "forecasts.parquet")
        rows = rows[rows["block"] == "test"].rename(columns={"unique_id": "series"})
        mean = rows.groupby(["series", "cutoff", "step"], as_index=False)["y_hat"].mean()
        widths = intervals_of(name, candidate)[
            ["model", "ranking", "series", "level", "step", "width"]
        ]
        both = mean.merge(widths, on=["series", "step"])
        parts.append(
            both.assign(
                lower=both["y_hat"] - both["width"] / 2, upper=both["y_hat"] + both["width"] / 2
            )
        )
    columns = ["model", "ranking", "series", "level", "cutoff", "step", "lower", "upper"]
    return pd.concat(parts, ignore_index=True)[columns]


def block_of(name: str, ds: pd.Series) -> np.ndarray:
    ends = [pd.Timestamp(end) + pd.Timedelta("1D") for end in DATASETS[name]["splits"].values()][:3]
    names = np.array(["train", *BLOCKS])
    return names[
        np.searchsorted(np.array(ends, dtype="datetime64[ns]"), ds.to_numpy(), side="right")
    ]


def seeds_of(candidate: str) -> tuple[int, ...]:
    return (0,) if candidate in BASELINES else SEEDS


def errors_of(candidate: str, forecasts: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """Absolute errors of validation and test, scaled per series, one row per forecast."""
    scale = truth.groupby("unique_id")["y"].agg(lambda y: float(y.diff().abs().mean()))
    errors = forecasts[["unique_id", "cutoff", "step", "block", "seed"]].copy()
    errors["candidate"] = candidate
    errors["error"] = (forecasts["y_hat"] - forecasts["y"]).abs()
    errors["scaled"] = errors["error"] / errors["unique_id"].map(scale)
    return errors


def write_comparison(folder: Path, name: str, errors: pd.DataFrame) -> None:
    test, validation = (errors[errors["block"] == block] for block in ("test", "validation"))
    naive = float(test.loc[test["candidate"] == "naive", "error"].mean())
    rows = [row for c in candidates() for row in _rows_of(name, c, test, validation, naive)]
    board = pd.DataFrame(rows)
    chosen = {ranking: f"lstm.{skip}" for skip, ranking in RANKINGS.items()}
    board["chosen"] = [
        f"{row.model}.{row.skip}" in chosen.values() and row.seed == "mean"
        for row in board.itertuples()
    ]
    by_step = _by_step(test)
    if len(SERIES[name]) > 1:  # errors in units are never pooled over series
        board[["mae", "rmse"]] = by_step[["mae", "rmse"]] = np.nan
    files.write_text(folder / "leaderboard.csv", board.to_csv(index=False, float_format="%.12g"))
    files.write_text(folder / "by_step.csv", by_step.to_csv(index=False))
    files.write_frame(folder / "by_series.parquet", _by_series(test))
    files.write_text(folder / "distributions.csv", distributions(name).to_csv(index=False))
    files.write_json(folder / "verdicts.json", verdicts(name))


def _rows_of(
    name: str, candidate: str, test: pd.DataFrame, validation: pd.DataFrame, naive: float
) -> list[Mapping[str, Any]]:
    model, _, skip = candidate.partition(".")
    base = {
        "dataset": name,
        "model": model,
        "ranking": RANKINGS.get(skip, "baseline"),
        "skip": skip,
    }
    mine = test[test["candidate"] == candidate]
    if mine.empty:
        return [{**base, "seed": "mean", "status": "failed", "n_origins": 0}]
    of_candidate = validation[validation["candidate"] == candidate]
    groups = [
        (str(seed), mine[mine["seed"] == seed], of_candidate[of_candidate["seed"] == seed])
        for seed in seeds_of(candidate)
    ]
    groups = [*groups, ("mean", mine, of_candidate)]
    rows = [
        {**base, "seed": seed, **_metrics(part, naive), "validation_mase": h["error"].mean()}
        for seed, part, h in groups
    ]
    spread = pd.DataFrame(rows[: len(seeds_of(candidate))])[list(METRICS)].std(ddof=1)
    if skip:
        rows.append(
            {
                **base,
                "seed": "std",
                "status": "ok",
                "n_origins": mine["cutoff"].nunique(),
                **spread.to_dict(),
            }
        )
    return [{**row, "n_params": 1234 if skip else 0} for row in rows]


def _metrics(errors: pd.DataFrame, naive: float) -> dict[str, Any]:
    mae, mase = float(errors["error"].mean()), float(errors["scaled"].mean())
    return {
        "status": "ok",
        "mae": mae,
        "rmse": 1.3 * mae,
        "mase": mase,
        "rmsse": 1.2 * mase,
        "smape": 10 * mase,
        "qlike": mase / 10,
        "direction": 0.62,
        "direction_base": 0.5,
        "skill": 1 - mae / naive,
        "n_origins": int(errors["cutoff"].nunique()),
    }


def _by_step(test: pd.DataFrame) -> pd.DataFrame:
    rows = []
    naive = test[test["candidate"] == "naive"].groupby("step")["error"].mean()
    for (candidate, step), part in test.groupby(["candidate", "step"]):
        model, _, skip = str(candidate).partition(".")
        for seed, mine in [*part.groupby("seed"), ("mean", part)]:
            mae, mase = mine["error"].mean(), mine["scaled"].mean()
            skill = 1 - mae / naive[step]
            rows.append(
                (
                    model,
                    RANKINGS.get(skip, "baseline"),
                    seed,
                    int(step),
                    mae,
                    1.3 * mae,
                    mase,
                    skill,
                )
            )
    return pd.DataFrame(
        rows, columns=["model", "ranking", "seed", "step", "mae", "rmse", "mase", "skill"]
    )


def distributions(name: str) -> pd.DataFrame:
    """Of a head on gru, of the first series: CRPS, a density's score, coverage."""
    keys = {
        "model": "gru",
        "ranking": "shipped",
        "head": "gaussian",
        "series": SERIES[name][0],
        "n": 360,
    }
    numbers = [
        ("crps", None, 0.5),
        ("log_score", None, 1.25),
        ("brier", None, 0.2),
        ("rise_rate", None, 0.5),
    ]
    numbers += [("coverage", 80.0, 0.75), ("pinball", 90.0, 0.125)]
    rows = [
        {**keys, "metric": metric, "level": level, "value": value}
        for metric, level, value in numbers
    ]
    return pd.DataFrame(rows if name == "hourly" else [], columns=list(rows[0]))


def diagnostics(model: str) -> dict[str, Any]:
    """narx has a loop that does not hold."""
    lags = [0, 1, 3, 9]
    if model == "narx":
        loop = {"verdict": "unstable", "reach": None, "exponent": None}
        arrays = {
            "lags": lags,
            "gradient": [1.0, 0.5, 0.0, 0.0],
            "free_run": [1.0, 10.0, 1000.0, None],
        }
        return {"seed": 0, "loop": loop, "arrays": arrays}
    arrays = {"lags": lags, "gradient": [1.0, 0.2, 0.02, 0.001]}
    return {"seed": 0, "arrays": arrays}


def _by_series(test: pd.DataFrame) -> pd.DataFrame:
    rows = []
    naive = test[test["candidate"] == "naive"].groupby("unique_id")["error"].mean()
    for (candidate, series, seed), part in test.groupby(["candidate", "unique_id", "seed"]):
        model, _, skip = str(candidate).partition(".")
        mae = part["error"].mean()
        rows.append(
            (
                model,
                RANKINGS.get(skip, "baseline"),
                series,
                seed,
                mae,
                part["scaled"].mean(),
                1 - mae / naive[series],
            )
        )
    return pd.DataFrame(
        rows, columns=["model", "ranking", "series", "seed", "mae", "mase", "skill"]
    )


def verdicts(name: str) -> dict[str, Any]:
    tests = [
        *[
            _test("shipped", "skip", m, "ridge", d, w)
            for m, d, w in (
                ("lstm", -0.06, "better"),
                ("gru", 0.004, "not distinguishable"),
                ("narx", 0.06, "worse"),
            )
        ],
        *[
            _test("architecture", "skip", m, "naive", d, "better")
            for m, d in (("lstm", -0.3), ("gru", -0.25))
        ],
        *[
            _test("shipped", "bar", m, "naive", d, "better")
            for m, d in (("ridge", -0.4), ("lstm", -0.44), ("gru", -0.4), ("narx", -0.36))
        ],
        *[
            _test("architecture", "bar", m, "naive", d, "better")
            for m, d in (("lstm", -0.3), ("gru", -0.25))
        ],
        _test("baseline", "bar", "drift", "naive", 0.02, "worse"),
        _test("shipped", "best", "gru", "lstm", 0.01, "undecided"),
        _test("shipped", "best", "ridge", "lstm", 0.06, "worse"),
    ]
    return {
        "dataset": name,
        "chosen": {"shipped": "lstm", "architecture": "lstm"},
        "tied": {"shipped": ["gru", "lstm"], "architecture": ["lstm"]},
        "tests": tests,
        "copies": [
            _flag(name, "naive", "baseline", "2 of 3 steps hardly move (variance share 0.0 %)")
        ],
        "leaks": (
            [_flag(name, "gru", "shipped", "MAE 40.0 % below repeating the last value")]
            if name == "daily"
            else []
        ),
        "unsupported_levels": (
            [
                {
                    "series": UNSUPPORTED[1],
                    "level": 95.0,
                    "reason": TOO_FEW,
                    "candidates": [{"model": "naive", "ranking": "baseline"}],
                }
            ]
            if name == UNSUPPORTED[0]
            else []
        ),
        "sentences": [
            (
                "As shipped: lstm, selected on validation, is better than repeating the last value"
                " (error -44.0 %)."
            ),
            "As shipped: no test distinguishes lstm from gru (+0.5 %).",
            "As shipped: no gain over the skip alone is shown for gru and narx (worse, +6.0 %).",
            "narx (architecture alone) was not compared: every seed failed.",
        ],
    }


def _flag(name: str, model: str, ranking: str, reason: str) -> dict[str, Any]:
    return {"model": model, "ranking": ranking, "unique_id": SERIES[name][0], "reason": reason}


def _test(
    ranking: str, family: str, model: str, against: str, relative: float, word: str
) -> dict[str, Any]:
    return {
        "ranking": ranking,
        "family": family,
        "model": model,
        "against": against,
        "p": 0.005,
        "p_holm": 0.01,
        "mean_difference": relative * 0.5,
        "relative_difference": relative,
        "ci_low": 0.5 * (relative - 0.02),
        "ci_high": 0.5 * (relative + 0.02),
        "n": 60,
        "detectable": 0.03,
        "word": word,
    }


def quality(name: str, truth: pd.DataFrame) -> dict[str, Any]:
    column = DATASETS[name]["target"]["column"]
    series = {
        str(unique_id): {
            "rows": len(part),
            "steps": len(part) + 2,
            "gaps": 1,
            "first": part["ds"].min().isoformat(),
            "last": part["ds"].max().isoformat(),
            "columns": {
                column: {
                    "missing": 2,
                    "missing_share": 2 / (len(part) + 2),
                    "min": float(part["y"].min()),
                    "max": float(part["y"].max()),
                    "mean": float(part["y"].mean()),
                }
            },
        }
        for unique_id, part in truth.groupby("unique_id")
    }
    first = next(iter(series))
    finding = {"rule": "spikes", "series": first, "column": column, "count": 1, "action": "warn"}
    findings = (
        [{**finding, "sentence": "1 value beyond 8 robust spreads: 2025-01-05 07:00."}]
        if name == "hourly"
        else []
    )
    summary = {"rows": len(truth), "gaps": len(series), "findings": findings}
    return {**summary, "series": series}


def record_of(name: str, candidate: str) -> dict[str, Any]:
    model, _, skip = candidate.partition(".")
    failed = (model, skip) == FAILED
    network = bool(skip)
    return {
        "dataset": name,
        "model": model,
        "family": model,
        "kind": KINDS.get(model, "network"),
        "candidate": candidate,
        "skip": skip or None,
        "skip_model": {"linear": "ridge", "last": "naive"}.get(skip),
        "ranking": RANKINGS.get(skip, "baseline"),
        "status": "failed" if failed else "ok",
        "reason": (
            "The closed loop diverged: forecasts left the float32 range at 2017-02-01."
            if failed
            else ""
        ),
        "description": f"{model} in one sentence.",
        "equation": "h = tanh(W x + b)",
        "source": "Somebody (1990)",
        "params": {"units": 8},
        "tuned": {"learning_rate": 0.01} if network else {},
        "trials": [_trial(n) for n in range(2 * network)],
        "n_params": 1234 if network else 0,
        "rows_seen": 480,
        "cost": {
            "gradient_steps": 600 if network else 0,
            "gradient_steps_taken": 600 if network else 0,
            "tuning_gradient_steps": 200 if network else 0,
            "targets_learnt_from": 460_800 if network else 0,
        },
        "seeds": [_seed(seed, failed) for seed in (SEEDS if network else (0,))],
        "diagnostics": diagnostics(model) if network and not failed else None,
        "digests": {"data": "a" * 64, "config": "b" * 64, "code": "c" * 64, "key": "d" * 64},
    }


def _trial(number: int) -> dict[str, Any]:
    return {"number": number, "value": 0.5 - 0.01 * number, "params": {}}


def _seed(seed: int, failed: bool) -> dict[str, Any]:
    if failed:
        reason = "The closed loop diverged."
        return {
            "seed": seed,
            "status": "failed",
            "reason": reason,
            "best_step": 0,
            "validation_loss": None,
            "curve": [],
        }
    curve = [
        [
            10 * step,
            0.5 * np.exp(-step / 8) + 0.2,
            0.5 * np.exp(-step / 8) + 0.3 + 0.002 * abs(step - 12 - seed),
        ]
        for step in range(21)
    ]
    best = min(curve, key=lambda row: row[2])
    return {
        "seed": seed,
        "status": "ok",
        "reason": "",
        "best_step": best[0],
        "validation_loss": best[2],
        "curve": curve,
    }


def write_costs(root: Path, name: str) -> None:
    for number, candidate in enumerate(candidates()):
        cost = {
            "cpu_seconds": 1.5 + number,
            "wall_seconds": 1.0 + number,
            "tuning_cpu_seconds": 4.0 * number,
        }
        files.write_json(root / ".forecast" / "cost" / name / f"{candidate}.json", cost)
