"""The entry of configs/datasets.yaml that fits a file of the user's own, for `forecast add`.

`entry` writes it from what the others guess: `cells`, which cells are numbers; `times`, the column
of times, its format and clock; `series`, the columns that name the series; `target`, what is
forecast and how its values are scaled; `spans`, season, horizon, lookback and blocks. Nothing is
checked: `fetch` does that.
"""
