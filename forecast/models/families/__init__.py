"""One file per model family, found by its file name; each has a class `Spec`
(`forecast.models.base`).
"""
