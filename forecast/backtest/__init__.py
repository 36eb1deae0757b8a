"""Stages `tune` and `train`: tune and fit every candidate, and forecast every cutoff with it.

    candidates       which models of a grid are trained, and the keys of their results
    setup            the settings and data that both stages compute with (prepared_data: the rows)
    tuning, studies  stage `tune`: one study per candidate that has a search space
    training         stage `train`: jobs over the cores, cache, records
    backtest         one job: fit, forecast, save
    timeline         which fit forecasts a cutoff, and when a model is fitted again
    combinations     weighted means of what was trained
    diagnostics      what goes on inside a trained network
    stage_settings   what each stage depends on, for DVC

Scores, tests and intervals are made from the forecasts alone by `forecast.comparison`.
"""
