"""Stages `tune` and `train`: every candidate tuned, fitted, and made to forecast every cutoff.

    candidates       which models of a grid are trained, and the keys of their results
    setup            the settings and data that both stages compute with (prepared_data: the rows)
    tuning, studies  stage `tune`: one study per network
    training         stage `train`: jobs over the cores, cache, records
    backtest         one job: fit, forecast, save
    timeline         which fit forecasts a cutoff, and when a model is fitted again
    combinations     weighted means of what was trained
    diagnostics      what goes on inside a trained network
    stage_settings   what each stage depends on, for DVC

Scores, tests and intervals are made from the forecasts alone by `forecast.comparison`.
"""
