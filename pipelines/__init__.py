"""One thin file per DVC stage: it reads, calls and writes; what is worth a test lives in
`forecast`.
"""
