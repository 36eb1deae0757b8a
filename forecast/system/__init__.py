"""Errors, files, processes, workers, progress and stages: what runs before anything is
installed.
"""
