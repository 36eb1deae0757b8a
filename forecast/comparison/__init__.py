"""Whether a difference between two forecasters is real: docs/protocol.md in code.

Pure functions, nothing of files.
"""
