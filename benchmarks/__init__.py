"""What Wardround costs and how exact it is, measured beside a peer or a limit in the same run.

`python -m benchmarks NAME` prints a table, `--json` one JSON object as its last line. A benchmark
is a module of this package with a function `run() -> Report`; names with an underscore are helpers.
"""
