"""What a finished run says: one table (leaderboard.csv), one self-contained page, one table in the
terminal.

    page                   report.html: collects what the others make
    answer, board, ledger, calibration, diagnostics, figures, panels    parts of the page
    charts, text           how a chart, a number looks
    leaderboard            the tables outside of the page: CSV, terminal, verdicts.json
    dvc_files              what `dvc metrics` and `dvc plots` show

Which function draws what, from the top of the page (`Results` in, a `Table` of `text` or a
`ChartPanel` of `figures` out; `templates/page.html.j2` and `dataset.html.j2` say where it stands):

    answer in words, why, advice            answer.describe_result, why, advise
    last test forecast, errors              panels.last_panel, answer.error_panel
    leaderboard, by level, by series        board.leaderboard_table, level_table, series_table,
                                            many_series
    forecasts at some cutoffs               panels.forecast_panels
    error by step, and by calendar period   figures.step_panels, panels.calendar_panels
    coverage                                calibration.calibration_table
    distributions                           board.distribution_table
    networks inside                         diagnostics.network_table
    costs, time line, quality, findings     ledger.cost_table, timeline, quality_table,
                                            findings_table

The next table or chart is a function of one of these modules and its line in `dataset.html.j2`.
What is shown is read from `forecast.data.results.Results` and the costs beside it; nothing is
tested or judged here.
"""
