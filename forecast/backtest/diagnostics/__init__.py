"""What goes on inside a trained network: how long it remembers, whether it saturates, whether its
loop is stable.

`dynamics` looks at one recurrent layer, `examine` at a whole network and its closed loop, for the
report and MLflow. NumPy alone, in float64, on a handful of windows; nothing here changes a
forecast.
"""
