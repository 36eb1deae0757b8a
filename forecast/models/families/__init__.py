"""One file per model family, found by its file name; each has a class `Spec`
(`forecast.models.base`).

An entry of configs/models.yaml names its family and is read as that `Spec`, whose fields are the
entry's options. To add a family, write one more file here: `forecast.models` finds it, nothing is
registered. Which base class fits, and what it has to provide, is listed in `forecast.models.base`.
No file here imports TensorFlow, torch or statsforecast before it is used.
"""
