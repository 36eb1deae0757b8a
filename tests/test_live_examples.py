"""configs/examples from the services' answers to prepared frames, through `forecast fetch` and `dvc repro`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from forecast import fetching
from forecast.config.datasets import load_datasets
from forecast.config.quality import DEFAULTS
from pipelines import fetch, prepare
from tests import small_project
from tests.services import Services, serving

NOW = pd.Timestamp("2024-06-03 21:00")
ORDER = ("indices", "cities", "shares")  # what is joined comes first


def shortened(url: str) -> dict[str, Any]:
    """The examples as they stand, with the local server's address and less history."""
    content: dict[str, Any] = yaml.safe_load(Path("configs/examples/datasets.yaml").read_text(encoding="utf-8"))
    for entry in content["datasets"].values():
        entry["source"] |= {"base_url": url, "start": "2023-01-02", "deadline_s": 60}
        entry["splits"] = {"train": 0.6, "validation": 0.15, "calibration": 0.1}
    return content


def test_the_examples_are_right_as_they_stand():
    datasets = load_datasets("configs/examples").datasets
    assert set(datasets) == set(ORDER)
    assert len(datasets["shares"].source.tickers) == 10 and len(datasets["cities"].source.variables) == 8


def test_the_examples_run_from_the_services_to_prepared_frames(tmp_path: Path):
    with serving(Services(now=NOW)) as services:
        small_project.write_real(tmp_path)
        (tmp_path / "configs" / "datasets.yaml").write_text(yaml.safe_dump(shortened(services.url)), encoding="utf-8")
        for name in ORDER:
            done = small_project.command(tmp_path, "fetch", name, "--as-of", NOW.isoformat())
            assert done.returncode == 0, done.stderr
    targets = [f"prepare@{name}" for name in ORDER]
    repro = subprocess.run(
        [sys.executable, "-m", "dvc", "repro", *targets],
        cwd=tmp_path,
        env=small_project.environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert repro.returncode == 0, repro.stdout + repro.stderr
    shares = pd.read_parquet(tmp_path / "data" / "prepared" / "shares" / "frame.parquet")
    assert shares["unique_id"].nunique() == 10 and shares["ds"].max() == pd.Timestamp("2024-06-03")
    assert list(shares.columns[2:]) == ["close", "volume", "daily_range", "vix", "new_york_temp"]
    assert shares[["vix", "new_york_temp"]].notna().all(axis=None)
    cities = pd.read_parquet(tmp_path / "data" / "prepared" / "cities" / "frame.parquet")
    assert cities.groupby("unique_id").size().nunique() == 1 and cities["unique_id"].nunique() == 3


@pytest.mark.parametrize("folder", ["data/snapshots", "reports"])
def test_no_price_of_a_service_can_be_committed(folder: str):
    ignored = ["git", "check-ignore", "-q", f"{folder}/shares/2024-06-03T210000Z-0123abcd.parquet"]
    assert subprocess.run(ignored, check=False).returncode == 0


def test_the_commented_entry_for_one_s_own_file_works_as_it_stands(tmp_path: Path):
    """The block at the end of configs/datasets.yaml, uncommented; its file in the local time that it states."""
    text = Path("configs/datasets.yaml").read_text(encoding="utf-8")
    block = text[text.index("  # mine:") :]
    entry = yaml.safe_load("\n".join(line.replace("  # ", "", 1) for line in block.splitlines() if line.strip()))
    (tmp_path / "configs").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "configs" / "datasets.yaml").write_text(yaml.safe_dump({"run": ["mine"], "datasets": entry}))
    local = pd.date_range("2023-10-01", periods=3000, freq="h", tz="Europe/Dublin").tz_localize(None)
    pd.DataFrame({"Date": local, "T2M": range(3000)}).to_csv(tmp_path / "data" / "mine.csv", index=False)
    settings = load_datasets(tmp_path / "configs").datasets["mine"]
    fetching.fetch_new("mine", settings, root=tmp_path, now=NOW)
    fetch.main("mine", root=str(tmp_path))
    prepare.main("mine", root=str(tmp_path))
    frame = pd.read_parquet(tmp_path / "data" / "prepared" / "mine" / "frame.parquet")
    assert frame["ds"].iloc[0] == pd.Timestamp("2023-09-30 23:00") and len(frame) == 3000


def test_the_documentation_names_every_rule():
    page = Path("docs/data.md").read_text(encoding="utf-8")
    assert [rule for rule in DEFAULTS if f"`{rule}`" not in page] == []
