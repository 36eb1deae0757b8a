"""One file per model family, found by its file name; each has a class `Spec`
(`forecast.models.base`).

An entry of configs/models.yaml names its family and is read as that `Spec`, whose fields are the
entry's options. To add a family, write one more file here: `forecast.models` finds it, nothing is
registered. Which base class fits, and what it has to provide, is listed in `forecast.models.base`.
A family runs where an entry of configs/models.yaml names it and a grid there lists the entry; a
dataset has the default grid or that of its key `grid`. `forecast add` writes `grid: intermittent`
for counts that are mostly zero, `short` and `few` for little data (`data.guesses.entry`), so a
model that is meant for these has to stand in those grids too.
No file here imports TensorFlow, torch or statsforecast before it is used.
"""
