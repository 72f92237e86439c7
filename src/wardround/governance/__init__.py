"""What remains when a run is over: the signed model, its report, and evidence that can be checked.

An auditor needs only this package and the files it writes; nothing here opens a connection.
"""
