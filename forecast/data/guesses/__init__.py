"""The guesses of `forecast add`: the entry of configs/datasets.yaml that fits a file of the user.

`entry` writes it from what the other modules guess: `cells` which cells are numbers; `times` the
column of times, its format and time zone; `series` the columns that name the series; `target` what
is forecast and its transform; `spans` season, horizon, lookback and blocks. The entry is not
checked here, but by `fetch`.
"""
