"""Published figures of the tables, with their sources; "quoted" ones were taken from memory and not
checked.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class File(NamedTuple):
    """A file a table needs, and where it is published."""

    name: str
    source: str


class Published(NamedTuple):
    """One row of a table: values in the order of the table's columns."""

    name: str
    values: tuple[float, ...]
    source: str


class Table(NamedTuple):
    """Its title, what its values are, its columns, the bars of the columns, published rows."""

    title: str
    unit: str
    columns: tuple[str, ...]
    bars: tuple[float, ...]
    rows: tuple[Published, ...]
    unmeasured: tuple[str, ...]
    """Rows of ours that no command measures yet."""


FILES = {
    "tanks": File(
        "cascaded_tanks.csv", "nonlinearbenchmark.org (cascaded tanks, Schoukens & Noël 2017)"
    ),
    "etth1": File("ETTh1.csv", "github.com/zhouhaoyi/ETDataset"),
    "etth1_ot": File("ETTh1.csv", "github.com/zhouhaoyi/ETDataset"),
    "exchange": File("exchange_rate.txt.gz", "github.com/laiguokun/multivariate-time-series-data"),
    "beijing": File(
        "weather/beijing_12stations_2013_2017.parquet", "archive.ics.uci.edu/dataset/501"
    ),
    "airports": File(
        "weather/nycflights13_raw_weather.csv",
        "github.com/tidyverse/nycflights13 data-raw/weather.csv",
    ),
    "m4": File("m4_Hourly-train.csv", "github.com/Mcompetitions/M4-methods"),
}

TANKS = "arXiv 2405.10779, tables 3 and 4"
UNCHECKED = "quoted, not checked against the publication"
HORIZONS = ("96", "192", "336", "720")
NETWORKS = ("skip alone", "network without skip", "network on its skip")
SEGMENTS = "network over segments"
COMBINED = "recurrent networks, combined"
SHRUNK = "network on its skip, shrunk to the last value"

TABLES = {
    "tanks": Table(
        "Cascaded tanks, free run",
        "RMSE in V without the first 50 rows",
        ("V",),
        (0.35,),
        (
            Published("ARX", (0.685,), TANKS),
            Published("pNARX", (0.413,), TANKS),
            Published("GP-NARX", (0.622,), TANKS),
            Published("RNN", (0.543,), TANKS),
            Published("GRU", (0.396,), TANKS),
            Published("LSTM", (0.490,), TANKS),
            Published("grey box", (0.191,), TANKS),
        ),
        (),
    ),
    "etth1": Table(
        "ETTh1, all channels",
        "MSE of standardised values, every window",
        HORIZONS,
        (0.370, 0.405, 0.425, 0.438),
        (
            Published("NLinear", (0.374, 0.408, 0.429, 0.440), UNCHECKED),
            Published("PatchTST/64", (0.375, 0.414, 0.431, 0.449), UNCHECKED),
            Published("SegRNN, lookback 96", (0.368, 0.408, 0.444, 0.446), UNCHECKED),
            Published("FITS", (0.376, 0.400, 0.419, 0.435), UNCHECKED),
            Published("best seen anywhere", (0.352, 0.392, 0.414, 0.429), UNCHECKED),
        ),
        (*NETWORKS, SEGMENTS, COMBINED),
    ),
    "etth1_ot": Table(
        "ETTh1, OT alone",
        "MSE of standardised values, every window",
        HORIZONS,
        (0.053, 0.069, 0.081, 0.080),
        (Published("NLinear", (0.053, 0.069, 0.081, 0.080), UNCHECKED),),
        (*NETWORKS, SEGMENTS, COMBINED),
    ),
    "exchange": Table(
        "Exchange rates, 8 series",
        "MSE of standardised values, every window",
        HORIZONS[:3],
        (0.083, 0.170, 0.311),
        (),
        (*NETWORKS, SEGMENTS, SHRUNK),
    ),
    "m4": Table(
        "M4 hourly, 414 series, horizon 48",
        "mean MASE, season 24",
        ("MASE",),
        (0.90,),
        (
            Published("AutoARIMA", (1.03,), UNCHECKED),
            Published("ES-RNN", (0.893,), UNCHECKED),
            Published("FFORMA", (0.819,), UNCHECKED),
            Published("TiRex, zero-shot", (0.722,), UNCHECKED),
        ),
        (*NETWORKS, SEGMENTS),
    ),
    "beijing": Table(
        "Beijing stations, temperature 24 h ahead",
        "test MAE",
        ("MAE",),
        (),
        (),
        ("best network", "seasonal naive", "ridge", "boosting", "ETS"),
    ),
}


def folder_of(table: str, data: Path) -> Path:
    """Where the table's file lies: in `data`, in its folder `benchmarks`, or in the folder that
    `data` is in.
    """
    name = FILES[table].name
    return next(
        (folder for folder in (data, data / "benchmarks", data.parent) if (folder / name).exists()),
        data,
    )
