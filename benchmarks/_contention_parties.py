"""The parties of the ``contention`` benchmark: a small HTTP service, its visitor, a trainer.

The service looks something up in a database in memory and answers in JSON, as small services in a
hospital do. The visitor asks it at a steady rate. The trainer is what a training program without
any cap is to them: the same computation as the confined worker's, as an ordinary process.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import sqlite3
import sys
import time

import numpy as np
import uvicorn
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from benchmarks._process import answer
from wardround.learning.fit import Rule
from wardround.learning.own import compute, fit_request
from wardround.learning.records import TEST_COLUMN, Family
from wardround.trust.canonical import JSON

RECORDS, FEATURES = 20_000, 20
RATE_HZ = 200


def training_request() -> dict[str, JSON]:
    """A hospital's whole fit on its own records, by the product's own code."""
    names = [f"feature_{number}" for number in range(FEATURES)]
    variables: dict[str, JSON] = {
        "family": "logistic",
        "features": [*names],
        "ranges": [[-10.0, 10.0] for _ in names],
        "outcome": "outcome",
        "outcome_range": [0.0, 1.0],
    }
    return fit_request(variables, Rule(Family.LOGISTIC, 1.0, 1e-9, 50))


def training_columns() -> dict[str, NDArray[np.float64]]:
    """Records that mean nothing."""
    draw = np.random.default_rng(3)
    columns = {
        f"feature_{number}": np.clip(draw.normal(size=RECORDS), -9, 9) for number in range(FEATURES)
    }
    score = sum(columns.values()) / FEATURES**0.5
    outcome = (draw.random(RECORDS) < 1 / (1 + np.exp(-score))).astype(np.float64)
    held_out = (draw.random(RECORDS) < 0.2).astype(np.float64)
    return {**columns, "outcome": outcome, TEST_COLUMN: held_out}


def serve(port: int) -> None:
    """Answer ``/patients/N`` with the rows of a ward, until killed."""
    database = sqlite3.connect(":memory:", check_same_thread=False)
    database.execute("CREATE TABLE rows (ward INTEGER, number INTEGER, text TEXT)")
    database.executemany(
        "INSERT INTO rows VALUES (?, ?, ?)",
        ((number % 500, number, f"row {number}") for number in range(20_000)),
    )
    database.execute("CREATE INDEX by_ward ON rows (ward)")

    async def ward(request: Request) -> JSONResponse:
        found = database.execute(
            "SELECT number, text FROM rows WHERE ward = ?", (request.path_params["ward"],)
        )
        return JSONResponse([{"number": number, "text": text} for number, text in found])

    app = Starlette(routes=[Route("/wards/{ward:int}", ward)])
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", lifespan="off"))
    asyncio.run(server.serve())


def visit(port: int, seconds: float) -> list[float]:
    """Ask at a steady rate; milliseconds from when a request was due until its whole answer.

    A request that is sent late because the one before was slow counts from when it was due.
    """
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    took = []
    begun = time.perf_counter()
    for number in range(round(seconds * RATE_HZ)):
        due = begun + number / RATE_HZ
        time.sleep(max(0.0, due - time.perf_counter()))
        line.request("GET", f"/wards/{number % 500}")
        line.getresponse().read()
        took.append(1e3 * (time.perf_counter() - due))
    line.close()
    return took


def train() -> None:
    """Fit again and again, until killed."""
    columns, request = training_columns(), training_request()
    answer({"ready": True})
    while True:
        compute(columns, request, None)


def _visitor(port: int) -> None:
    answer({"ready": True})
    for line in sys.stdin:
        answer({"ms": [*visit(port, float(json.loads(line)["seconds"]))]})


if __name__ == "__main__":
    role, *words = sys.argv[1:]
    if role == "service":
        serve(int(words[0]))
    elif role == "visitor":
        _visitor(int(words[0]))
    else:
        train()
