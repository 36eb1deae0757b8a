"""The door for Python: `forecast.fit`, `compare`, `load` and `example` are looked up here by
`forecast.__getattr__`.

installation    what comes with the package: catalogue, budgets, an example; `forecast new`
frames          a caller's frame → the checked long frame
frame_dataset   frame and options → a dataset's settings
stages          settings and frame → prepared, tuned and trained
model           a fitted model: forecasts, windows of the past, saving; needs no TensorFlow
fitting         `fit`
board           `compare`
export          results of a run → frames, for `forecast export`
network_file    a trained network → a Python file for NumPy
"""
