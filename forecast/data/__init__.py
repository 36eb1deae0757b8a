"""From a source to arrays: snapshots, quality checks, preparation, panel, splits, scaling,
windows.
"""
