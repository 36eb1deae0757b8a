"""One file per model family, found by its file name."""
