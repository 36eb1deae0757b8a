"""The door for Python: `forecast.fit`, `compare`, `load` and `example` are looked up here by
`forecast.__getattr__`.

packaged    what comes with the package: catalogue, budgets, an example; `forecast new`
frames      a caller's frame → the checked long frame
project     frame and options → a temporary project, in which the stages run
model       a fitted model: forecasts, windows of the past, saving; needs no TensorFlow
fitting     `fit`
board       `compare`
export      results of a run → frames, for `forecast export`
"""
