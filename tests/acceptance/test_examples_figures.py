"""Every example ends as it says it does, and the demonstration's figures are right, whatever is killed in the middle of it."""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import shlex
import signal
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import date
from fractions import Fraction
from functools import cache
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from acceptance_home import Operator

from noetl import settings as configuration
from noetl.ops import examples
from noetl.ops.client import connect

_LINE = re.compile(r"^#     noetl (run \S.*?)\s+(COMPLETED|FAILED)$", re.MULTILINE)
_EXIT_CODES = {"COMPLETED": 0, "FAILED": 1}
MIN_FLIGHTS = 365


def documented() -> Iterator[tuple[str, str]]:
    """Yield each command that the examples' headers show, with the status that it ends in."""
    for file in examples.playbooks():
        found = _LINE.findall(file.read_text())
        assert found, f"{file.name} does not say how to run it"
        yield from found


def test_every_example_ends_as_its_header_says(operator: Operator) -> None:
    operator.ok("up")
    folder = examples.examples_dir()
    for line, status in documented():
        words = [str(folder / Path(word).name) if word.startswith("examples/") else word for word in shlex.split(line)]
        if words[1].endswith(examples.MAIN):
            here = {"data_dir": folder / "data", "server_url": f"http://127.0.0.1:{operator.port}", "pause_ms": 0}
            words += [word for name, value in here.items() for word in ("--set", f"{name}={value}")]
        ran = operator.run(*words, "--json")
        assert json.loads(ran.stdout)["status"] == status, f"{line}\n{ran.stdout}\n{ran.stderr}"
        assert ran.returncode == _EXIT_CODES[status]


def test_the_demonstration_twice_in_a_row(operator: Operator) -> None:
    assert_right(json.loads(operator.ok("demo", "--json"))["result"])
    assert operator.processes() == []
    said = operator.ok("demo")
    assert operator.processes() == []
    assert "✓ measure  done" in said
    assert re.search(r"^flights +332,942$", said, re.MULTILINE)
    assert re.search(r"^TO +FLIGHTS +LATE PERCENT", said, re.MULTILINE)


def test_the_demonstration_leaves_its_stack_up_when_asked_to(operator: Operator) -> None:
    ran = operator.run("demo", "--keep", "--json")
    assert ran.returncode == 0, ran.stderr
    assert f"http://127.0.0.1:{operator.port}" in ran.stderr
    assert {row["state"] for row in operator.services().values()} == {"running"}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("service", ["worker worker-1", "server", "nats", "postgres"])
def test_a_process_killed_in_the_middle_of_the_loop(operator: Operator, service: str) -> None:
    operator.more = {"NOETL_LEASE_SECONDS": "3"}
    operator.ok("up")
    with operator.popen("demo", "--json") as demo:
        wait_for_the_loop(operator)
        os.kill(operator.services()[service]["pid"], signal.SIGKILL)
        operator.ok("up")
        out, err = demo.communicate(timeout=90)
    assert demo.returncode == 0, f"{out}\n{err}"
    assert_right(json.loads(out)["result"])


def wait_for_the_loop(operator: Operator) -> None:
    """Return once some of the items of the demonstration's loop are done."""
    client = connect(configuration.read(operator.environ))
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for execution in client.get("/api/executions")["executions"]:
            steps = client.get(f"/api/executions/{execution['execution_id']}/steps")["steps"]
            if any(step["step"] == "measure" and step["loop"]["done"] for step in steps):
                return
        time.sleep(0.05)
    raise AssertionError("the demonstration's loop does not begin")


def assert_right(result: Mapping[str, Any]) -> None:
    """Hold a result of the demonstration against figures that are computed here from the same file, without SQL."""
    expected = figures()
    assert {name: result[name] for name in expected if name != "latest"} == {name: expected[name] for name in expected if name != "latest"}
    assert [row["to"] for row in result["latest"]] == [row["to"] for row in expected["latest"]]
    for row, right in zip(result["latest"], expected["latest"], strict=True):
        assert row == pytest.approx(right, abs=0.051)
        assert row["trend"] == pytest.approx(right["trend"], abs=1e-4)
        assert row["tau"] == pytest.approx(right["tau"], abs=1e-4)


@cache
def figures() -> dict[str, Any]:
    """Compute the demonstration's result."""
    delays: dict[str, list[tuple[int, int]]] = defaultdict(list)
    flights: dict[str, int] = defaultdict(int)
    with gzip.open(examples.examples_dir() / "data" / "flights.csv.gz", "rt", newline="") as file:
        for row in csv.DictReader(file):
            flights[row["dest"]] += 1
            if row["arr_delay"]:
                day = date(2013, int(row["month"]), int(row["day"])).timetuple().tm_yday
                delays[row["dest"]].append((day, int(row["arr_delay"])))
    kept = [dest for dest in flights if flights[dest] >= MIN_FLIGHTS]
    late = {dest: sum(minutes >= 15 for _, minutes in delays[dest]) for dest in kept}
    arrived = sum(len(delays[dest]) for dest in kept)
    ranked = sorted(kept, key=lambda dest: (-Fraction(late[dest], len(delays[dest])), dest))[:10]
    return {
        "flights": sum(flights[dest] for dest in kept),
        "destinations": len(kept),
        "late_percent": round(100 * sum(late.values()) / arrived, 1),
        "mean_delay": round(sum(minutes for dest in kept for _, minutes in delays[dest]) / arrived, 1),
        "latest": [{"to": dest, "flights": flights[dest], **destination(delays[dest])} for dest in ranked],
    }


def destination(delays: list[tuple[int, int]]) -> dict[str, float]:
    """Compute one destination's figures."""
    minutes = sorted(delay for _, delay in delays)
    position = Fraction(9, 10) * (len(minutes) - 1)
    below, above = minutes[int(position)], minutes[min(int(position) + 1, len(minutes) - 1)]
    days: dict[int, list[int]] = defaultdict(list)
    for day, delay in delays:
        days[day].append(delay)
    pairs = list(combinations(sorted((day, median(found)) for day, found in days.items()), 2))
    signs = [(later > earlier) - (later < earlier) for (_, earlier), (_, later) in pairs]
    return {
        "late_percent": round(100 * sum(delay >= 15 for delay in minutes) / len(minutes), 1),
        "mean_delay": round(sum(minutes) / len(minutes), 1),
        "median_delay": median(minutes),
        "p90_delay": float(below + (above - below) * (position - int(position))),
        "trend": 30 * median((y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in pairs),
        "tau": sum(signs) / len(signs),
    }
