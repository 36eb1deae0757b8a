"""The lowest layer: errors, files, processes and parallel work. Nothing here knows forecasting.

errors, files, addresses      expected failures; atomic writes and locks; hiding passwords
stage, processes              running a pipeline stage; signals and child processes
workers, cluster              parallel tasks on this machine or on a Dask cluster
postgres                      locks shared by several machines
code_closure                  the digest of the code that a result depends on
bootstrap                     `make setup`, with the standard library alone
"""
