"""The Python interface: `forecast.fit`, `compare`, `load` and `example`.

installation    files that come with the package: catalogue, budgets, an example; `forecast new`
frames          checks a caller's frame and converts it to the long frame of the stages
frame_dataset   makes a dataset's settings from a frame and options
stages          prepares, tunes, trains and compares in memory
model           a fitted model: forecasts, windows of the past, saving; needs no TensorFlow
fitting         `fit`
board           `compare`
export          results of a run as frames, for `forecast export`
network_file    writes a trained network as a Python file that needs NumPy alone
"""
