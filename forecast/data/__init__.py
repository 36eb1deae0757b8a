"""Data, from a source to the arrays and windows that models see, and the records of a run.

    sources → ingest → snapshots        `forecast fetch`: rows as a source gave them, never changed
    columns, vintages → preparation     stage `prepare`: the frame that the pipeline works on
    panel → splits → scaling → windows  stages `tune` and `train`, and every forecast
    records, results                    what later stages write, and its one reader

Times are UTC without a zone (a session is its date at midnight); a missing value is NaN.
"""
