"""Errors, files, processes, workers, progress and stages: the lowest room, which knows nothing of
forecasting.

    errors, files, addresses      what can go wrong; whole writes, locks; secrets kept out of text
    stage, processes              the door of a stage, its progress; processes that end together
    workers, cluster              parallel tasks, here or on a Dask cluster
    postgres                      locks among machines
    code_closure                  the digest of the code that a result depends on
    bootstrap                     `make setup`, with the standard library alone
"""
