"""configs/examples from the services' answers to the report, through `forecast fetch` and every
stage.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from forecast import cli
from forecast.config.datasets import Quality, load_datasets
from forecast.data import ingest
from forecast.data.sources import Request
from forecast.system import files
from pipelines import compare, fetch, prepare, report, train, tune
from tests.support import small_project
from tests.support.services import Services, serving

EXAMPLES = Path("configs/examples/datasets.yaml")
NOW = pd.Timestamp("2024-06-03 21:00")
WITH_FORECASTS, WITH_NEIGHBOURS = "rome_and_its_forecasts", "dublin_and_around"
ORDER = ("indices", "cities", "shares")  # what is joined comes first
BUDGET = {
    "n_trials": 1,
    "trial_steps": 2,
    "final_steps": 2,
    "evaluate_every": 1,
    "seeds": [0],
    "base_seed": 0,
}


def shortened(url: str, path: Path = EXAMPLES) -> dict[str, Any]:
    """The examples as they stand, with the local server's address, less history and shorter
    windows.
    """
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    for entry in content["datasets"].values():
        moved = {
            key: url
            for key in ("recent_url", "forecast_url", "previous_runs_url")
            if key in entry["source"]
        }
        entry["source"] |= {**moved, "base_url": url, "start": "2024-01-02", "deadline_s": 60}
        entry |= {"splits": {"train": 0.5, "validation": 0.2, "calibration": 0.15}, "step_size": 6}
        entry["lookback"] = min(24, entry["lookback"] // 4)
    return content


def test_the_examples_are_right_as_they_stand():
    datasets = load_datasets("configs/examples").datasets
    assert set(datasets) == {*ORDER, WITH_FORECASTS, WITH_NEIGHBOURS}
    near = [
        column.joined
        for column in datasets[WITH_NEIGHBOURS].past_exogenous
        if column.joined is not None
    ]
    assert {station.series for station in near} <= set(datasets[WITH_NEIGHBOURS].source.places) - {
        "dublin"
    }
    assert (
        len(datasets["shares"].source.tickers) == 10
        and len(datasets["cities"].source.variables) == 8
    )


def configure(root: Path, url: str, names: list[str]) -> None:
    """The examples' datasets, families by their names, a short budget."""
    (root / "configs").mkdir()
    small_project.write_yaml(root / "configs" / "datasets.yaml", shortened(url))
    entries = {name: {"family": name} for name in names}
    grid = {"grid": "g", "grids": {"g": names}, "rankings": ["shipped"], "models": entries}
    small_project.write_yaml(root / "configs" / "models.yaml", grid)
    small_project.write_yaml(root / "configs" / "tuning.yaml", BUDGET)
    shutil.copy("configs/evaluation.yaml", root / "configs")
    (root / "requirements.lock").write_text("")


def fetch_all(root: Path) -> list[str]:
    """The datasets that `forecast fetch` says it has taken, each gone through `prepare` too."""
    result = CliRunner().invoke(cli.app, ["fetch", "--as-of", NOW.isoformat(), "--root", str(root)])
    assert result.exit_code == 0, result.output
    names = [line.partition(":")[0] for line in result.output.splitlines() if ": taken " in line]
    for name in names:
        fetch.main(name, root=str(root))
        prepare.main(name, root=str(root))
    return names


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples fetched from the local server and gone through every stage."""
    root = tmp_path_factory.mktemp("examples")
    with serving(Services(now=NOW)) as services:
        configure(root, services.url, ["naive", "seasonal_naive", "ridge", "arx", "mlp"])
        assert fetch_all(root) == list(ORDER)
    for name in ORDER:
        for stage in (tune, train):
            stage.main(name, root=str(root), state=str(root / ".forecast"), jobs=1)
        compare.main(name, root=str(root))
    report.main(root=str(root))
    return root


def prepared(root: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(root / "data" / "prepared" / name / "frame.parquet")


def test_the_examples_run_from_the_services_to_the_report(project: Path):
    board = pd.read_csv(project / "reports" / "leaderboard.csv")
    assert set(board["dataset"]) == set(ORDER) and set(board["status"]) == {"ok"}
    assert set(board.loc[board["dataset"] == "shares", "model"]) == {"naive", "ridge", "arx", "mlp"}
    page = (project / "reports" / "report.html").read_text(encoding="utf-8")
    assert "Yahoo! Finance" in page and "Open-Meteo.com (CC BY 4.0)" in page


def test_shares_see_the_weather_and_the_index_of_what_was_known_at_their_close(project: Path):
    """19:59 UTC is the last hour that has ended when New York closes in summer; 20:59 in winter."""
    shares, cities = prepared(project, "shares"), prepared(project, "cities")
    assert shares["unique_id"].nunique() == 10 and shares["ds"].max() == pd.Timestamp("2024-06-03")
    assert list(shares.columns[2:]) == ["close", "volume", "daily_range", "vix", "new_york_temp"]
    assert shares[["vix", "new_york_temp"]].notna().all(axis=None)
    hours = cities[cities["unique_id"] == "new_york"].set_index("ds")["temp"]
    days = shares[shares["unique_id"] == "IBM"].set_index("ds")["new_york_temp"]
    for day, last in (("2024-02-01", "20:00"), ("2024-05-01", "19:00")):
        assert days[day] == hours[f"{day} {last}"]


def test_hours_of_every_city_stand_on_one_grid(project: Path):
    cities = prepared(project, "cities")
    assert cities.groupby("unique_id").size().nunique() == 1 and cities["unique_id"].nunique() == 3
    assert np.diff(cities.loc[cities["unique_id"] == "dublin", "ds"]).max() == pd.Timedelta("1h")


def edited_as_the_page_says(text: str) -> str:
    """The examples with every `-` line of docs/data.md's list replaced by the `+` line after it."""
    page = Path("docs/data.md").read_text(encoding="utf-8")
    section = page.split("## Your own tickers and city")[1].split("\n## ")[0]
    lines = re.findall(r"^    ([-+])(.+)$", section, re.MULTILINE)
    assert [sign for sign, _ in lines] == ["-", "+"] * 3
    for (_, before), (_, after) in zip(lines[::2], lines[1::2], strict=True):
        assert sum(line.partition(" #")[0] == before for line in text.splitlines()) == 1, before
        text = text.replace(before, after)
    return text


def test_the_three_lines_of_the_page_are_all_that_other_tickers_and_another_city_need(
    tmp_path: Path,
):
    (tmp_path / "configs").mkdir()
    place = tmp_path / "configs" / "datasets.yaml"
    with serving(Services(now=NOW)) as services:
        place.write_text(edited_as_the_page_says(EXAMPLES.read_text(encoding="utf-8")))
        place.write_text(yaml.safe_dump(shortened(services.url, place)), encoding="utf-8")
        fetched = fetch_all(tmp_path)
    # the keys of this file are sorted, and with them what does not join one another
    assert sorted(fetched) == sorted(ORDER) and fetched[-1] == "shares"
    assert set(prepared(tmp_path, "shares")["unique_id"]) == {"NVDA", "ASML", "KO"}
    assert set(prepared(tmp_path, "cities")["unique_id"]) == {"rome", "new_york", "singapore"}


def test_what_the_service_had_forecast_is_an_input_and_a_row(tmp_path: Path):
    """The local service is 0.1 off up to 17 hours ahead and 0.2 beyond, as its forecasts were out
    by each cutoff.
    """
    with serving(Services(now=NOW)) as services:
        configure(tmp_path, services.url, ["naive", "seasonal_naive", "service"])
        settings = load_datasets(tmp_path / "configs").datasets[WITH_FORECASTS]
        ingest.fetch_snapshot(Request(WITH_FORECASTS, settings, tmp_path), now=NOW)
    fetch.main(WITH_FORECASTS, root=str(tmp_path))
    prepare.main(WITH_FORECASTS, root=str(tmp_path))
    frame = prepared(tmp_path, WITH_FORECASTS)
    actual = frame.set_index("ds")["temp"].reindex(frame["ds"] + pd.Timedelta("24h")).to_numpy()
    settled = slice(0, len(frame) - 24 * 7)
    assert np.allclose((frame["temp+24"] - actual)[settled], 0.2, atol=0.011)
    (tmp_path / "data" / "tuned" / WITH_FORECASTS).mkdir(parents=True)
    train.main(WITH_FORECASTS, root=str(tmp_path), state=str(tmp_path / ".forecast"), jobs=1)
    of_service = pd.read_parquet(
        tmp_path / "data" / "trained" / WITH_FORECASTS / "service" / "forecasts.parquet"
    )
    off = (
        (of_service["y_hat"] - of_service["y"])[of_service["ds"] < NOW - pd.Timedelta(7, "D")]
        .groupby(of_service["step"])
        .mean()
        .round(2)
    )
    assert off.tolist() == [0.1] * 17 + [0.2] * 7
    compare.main(WITH_FORECASTS, root=str(tmp_path))
    compared = tmp_path / "data" / "compared" / WITH_FORECASTS
    board = pd.read_csv(compared / "leaderboard.csv", dtype={"seed": str}).set_index(
        ["model", "seed"]
    )["mase"]
    assert board["service", "mean"] < board["naive", "mean"] / 3
    # never the service
    assert files.read_json(compared / "verdicts.json")["chosen"]["shipped"] == "seasonal_naive"


@pytest.mark.parametrize("folder", ["data/snapshots", "reports"])
def test_no_price_of_a_service_can_be_committed(folder: str):
    ignored = ["git", "check-ignore", "-q", f"{folder}/shares/2024-06-03T210000Z-0123abcd.parquet"]
    assert subprocess.run(ignored, check=False).returncode == 0


def test_the_commented_entry_for_one_s_own_file_works_as_it_stands(tmp_path: Path):
    """The block at the end of configs/datasets.yaml, uncommented; its file in the local time that
    it states.
    """
    text = Path("configs/datasets.yaml").read_text(encoding="utf-8")
    block = text[text.index("  # mine:") :]
    entry = yaml.safe_load(
        "\n".join(line.replace("  # ", "", 1) for line in block.splitlines() if line.strip())
    )
    (tmp_path / "configs").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "configs" / "datasets.yaml").write_text(
        yaml.safe_dump({"run": ["mine"], "datasets": entry})
    )
    local = pd.date_range("2023-10-01", periods=3000, freq="h", tz="Europe/Dublin").tz_localize(
        None
    )
    pd.DataFrame({"Date": local, "T2M": range(3000)}).to_csv(
        tmp_path / "data" / "mine.csv", index=False
    )
    settings = load_datasets(tmp_path / "configs").datasets["mine"]
    ingest.fetch_snapshot(Request("mine", settings, tmp_path), now=NOW)
    fetch.main("mine", root=str(tmp_path))
    prepare.main("mine", root=str(tmp_path))
    frame = pd.read_parquet(tmp_path / "data" / "prepared" / "mine" / "frame.parquet")
    assert frame["ds"].iloc[0] == pd.Timestamp("2023-09-30 23:00") and len(frame) == 3000


def test_the_documentation_names_every_rule():
    page = Path("docs/data.md").read_text(encoding="utf-8")
    assert [rule for rule in Quality.model_fields if f"`{rule}`" not in page] == []
