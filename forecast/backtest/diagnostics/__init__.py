"""What goes on inside a trained network: how long it remembers, whether it saturates, whether its
loop is stable.

NumPy alone, in float64, on a handful of windows.
"""
