"""From a source to arrays, for every room above: what is observed is taken, checked, stored,
prepared and cut into the windows that models see.

    sources → ingest → snapshots        `forecast fetch`: rows as a source gave them, never changed
    columns, vintages → preparation     stage `prepare`: the frame that the pipeline works on
    panel → splits → scaling → windows  stages `tune` and `train`, and every forecast
    records, results                    what later stages write, and the one reader of it

Times are UTC without a zone, a missing value is NaN, and no row is ever invented.
"""
