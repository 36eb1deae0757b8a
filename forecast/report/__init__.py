"""What a finished run says: one table (leaderboard.csv), one self-contained page, one table in the
terminal.
"""
