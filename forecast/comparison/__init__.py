"""Compares forecasters: scores, selection on validation, and significance tests (docs/protocol.md).

    comparing             stage `compare`: runs all of the following and writes its files
    scores, metrics       errors of every candidate, by series and step
    distribution_scores   scores of heads that forecast a distribution
    intervals             coverage and width of the prediction intervals
    levels                errors by level of a hierarchy
    losses                one loss per origin, and the selection on validation
    longrun, paired_tests tests of dependent losses
    verdicts, sentences   which tests are made, and what they say in words
    error_diagnostics     alarms: copies of the last value, leaks; no ranking depends on them
    low_medians           warnings about medians where a mean is needed
    explaining            contributions of the inputs to a forecast

All comes from the forecasts and actuals of `Results`; nothing is trained here, only `explaining`
forecasts, and only `comparing` writes files.
"""
