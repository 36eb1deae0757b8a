"""Reports a finished run: reports/leaderboard.csv, the page reports/report.html, and the tables in
the terminal.

    page            writes report.html with the functions of the next line
    answer, score_tables, facts, calibration, diagnostics, figures, panels    parts of the page
    charts, text    how charts, numbers and tables look
    leaderboard     the leaderboards outside of the page: CSV and terminal; verdicts.json
    dvc_files       what `dvc metrics` and `dvc plots` show

The parts of the page in their order. Most functions take `Results` and return a `Table` (of
`text`), a `ChartPanel` (of `figures`) or sentences; `templates/page.html.j2` and `dataset.html.j2`
place them.

    answer in words, advice, contributions  answer.describe_result, advise, contribution_table
    last test forecast, errors              panels.last_panel, answer.error_panel
    leaderboard, by level, by series        score_tables.leaderboard_table, level_table,
                                            series_table, many_series
    forecasts at some cutoffs               panels.forecast_panels
    error by step, and by calendar period   figures.step_panels, panels.calendar_panels
    coverage                                calibration.calibration_table
    diagnostics of networks                 diagnostics.network_table
    costs, blocks, data quality, findings   facts.cost_table, timeline, quality_table,
                                            findings_table

A new table or chart is a function of one of these modules and a line in `dataset.html.j2`. Nothing
is tested or judged here.
"""
