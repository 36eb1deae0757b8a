"""What a finished run says: one table (leaderboard.csv), one self-contained page, one table in the
terminal.

    page                   report.html: collects what the others make
    answer, board, ledger, calibration, diagnostics, figures, panels    parts of the page
    charts, text           how a chart, a number looks
    leaderboard, tracked   the tables outside of the page: CSV, terminal, DVC

What is shown is read from `forecast.data.results.Results` and the costs beside it; nothing is
tested or judged here.
"""
