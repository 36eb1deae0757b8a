"""Whether a difference between two forecasters is real: docs/protocol.md in code.

    comparing             stage `compare`: all of the following, and its files
    scores, metrics       errors of every candidate, series and step; distribution_scores of heads
    intervals             what the prediction intervals cover
    losses                one loss per origin, the selection on validation
    longrun, paired_tests the statistics of dependent losses
    verdicts, sentences   which tests are made, their words, and the sentences
    error_diagnostics     alarms and residuals; no ranking depends on them

Nothing here trains or forecasts: all comes from the forecasts and actuals of `Results`, and
`comparing` alone writes files.
"""
