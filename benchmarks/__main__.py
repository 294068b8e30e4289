"""Measures, and prints a table or JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import sysconfig
import time
from dataclasses import asdict, dataclass

import uvloop

from benchmarks import commands, comparison, engine, limits, scale, side_by_side, stack
from noetl import home
from noetl.ops import check_machine, server
from noetl.ops.interrupt import heard_once

GROUPS, ON_REQUEST = ("start", "engine"), ("scale",)


@dataclass(frozen=True)
class Figure:
    """One measured figure, and its ratio to the machine's own limit that is named."""

    name: str
    value: float
    unit: str
    ratio: float | None = None
    to: str = ""


def main() -> int:
    """Run what is asked for; Ctrl-C stops what was started."""
    try:
        with heard_once("bench"):
            return _measured()
    except KeyboardInterrupt:
        return 130


def _measured() -> int:
    parser = argparse.ArgumentParser(prog="inv bench", description="Measure noetl beside this machine's own limits.")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--only", default="", help=f"only the groups whose names begin with this: {', '.join((*GROUPS, *ON_REQUEST))}")
    parser.add_argument(
        "--peers",
        nargs="?",
        const="all",
        default="",
        help=f"measure noetl beside its peers: all, or some of {', '.join(side_by_side.PEERS)}",
    )
    given = parser.parse_args()
    if given.peers:
        return _beside_peers(given.peers, given.json)
    chosen = [name for name in (*GROUPS, *(ON_REQUEST if given.only else ())) if name.startswith(given.only)]
    if not chosen:
        sys.stderr.write(f"error: no group begins with {given.only!r}\n  groups: {', '.join((*GROUPS, *ON_REQUEST))}\n")
        return 2
    figures = [figure for name in chosen for figure in {"start": _starts, "engine": _engine, "scale": _scale}[name]()]
    if given.json:
        print(json.dumps({"machine": _machine(), "figures": [asdict(figure) for figure in figures]}, indent=1))
    else:
        _table(figures)
    return 0


def _beside_peers(names: str, as_json: bool) -> int:
    chosen = list(side_by_side.PEERS) if names == "all" else names.split(",")
    if unknown := [name for name in chosen if name not in side_by_side.PEERS]:
        sys.stderr.write(f"error: no peer is called {unknown[0]!r}\n  peers: {', '.join(side_by_side.PEERS)}\n")
        return 2
    with stack.running() as settings, stack.folder() as home:
        rows = uvloop.run(side_by_side.measure(settings, home, chosen, _say))
    if as_json:
        print(json.dumps({"machine": _machine(), "rows": [comparison.document(row) for row in rows]}, indent=1))
    else:
        print("\n".join([_shown(_machine()), *comparison.table(rows)]))
    return 0


def _machine() -> dict[str, object]:
    load = os.getloadavg()[0]
    python = platform.python_version() + (" not optimized" if check_machine.is_plain_build(sysconfig.get_config_vars()) else "")
    return {"cores": os.cpu_count(), "python": python, "system": platform.system(), "load": round(load, 1)}


def _shown(machine: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in machine.items())


def _starts() -> list[Figure]:
    _say("starting commands")
    with stack.running() as settings:
        medians = commands.measure(settings.home, settings.port)
    bare, empty = medians["python -c pass"], medians["inv --list, empty tasks.py"]
    return [
        Figure("bare interpreter (python -c pass)", bare, "ms"),
        Figure("inv --list, empty tasks.py", empty, "ms", empty / bare, "bare interpreter"),
        Figure("inv --list", medians["inv --list"], "ms", medians["inv --list"] / empty, "inv --list, empty tasks.py"),
        *(
            Figure(name, medians[name], "ms", medians[name] / bare, "bare interpreter")
            for name in ("noetl --version", "noetl server status", "noetl worker list")
        ),
    ]


def _engine() -> list[Figure]:
    _say("starting a stack of its own")
    with stack.running() as settings:
        server.stop(settings)
        started = time.perf_counter()
        server.start(settings)
        ready = time.perf_counter() - started
        postgres = home.read_embedded(settings.home).postgres
        assert postgres is not None
        _say("measuring commits, chains, loops, executions")
        one, sixteen = asyncio.run(limits.commits(postgres, 1)), asyncio.run(limits.commits(postgres, 16))
        found = asyncio.run(engine.measure(f"http://127.0.0.1:{settings.port}", stack.token(settings)))
        commit = 1000 / one
    return [
        Figure("server.start to ready", ready, "s"),
        Figure("single-row commits, 1 connection", one, "commits/s"),
        Figure("single-row commits, 16 connections", sixteen, "commits/s"),
        Figure(f"chain of {engine.CHAIN} no-op steps", found["chain"], "ms/step", found["chain"] / commit, "one single-row commit"),
        Figure(
            f"parallel loop of {engine.ITEMS} no-op items", found["loop"], "items/s", found["loop"] / sixteen, "commits/s, 16 connections"
        ),
        Figure(
            f"{engine.MANY} executions of 3 steps at once",
            found["many"],
            "executions/s",
            found["many"] / sixteen,
            "commits/s, 16 connections",
        ),
        Figure("a lone execution of 3 steps, p50", found["lone_p50"], "ms", found["lone_p50"] / commit, "one single-row commit"),
        Figure("a lone execution of 3 steps, p99", found["lone_p99"], "ms", found["lone_p99"] / commit, "one single-row commit"),
    ]


def _scale() -> list[Figure]:
    _say("starting a stack of its own, then minutes of chains, loops, executions and rest")
    with stack.running() as settings:
        found = asyncio.run(scale.measure(settings))
    grown = found["memory_late"] / found["memory_early"]
    return [
        Figure("CPU of a step, chain of 200", found["cpu_chain"], "ms CPU"),
        Figure("CPU of an item, loop of 2,000", found["cpu_loop"], "ms CPU"),
        Figure("CPU of a step, 500 executions of 3", found["cpu_many"], "ms CPU"),
        Figure("chain of 2,000: last hundred steps", found["growth_chain"], "x the first"),
        Figure("loop of 20,000 items", found["growth_loop"], "x 2,000 items"),
        Figure("idle stack over 30 s", found["idle"], "% of a core"),
        Figure(f"server's memory after {scale.LATE:,} executions", found["memory_late"], "MiB", grown, f"after {scale.EARLY:,}"),
    ]


def _table(figures: list[Figure]) -> None:
    print(_shown(_machine()))
    width = max(len(figure.name) for figure in figures)
    for figure in figures:
        ratio = f"{figure.ratio:8.2f} x {figure.to}" if figure.ratio is not None else ""
        print(f"{figure.name:<{width}}  {figure.value:10.2f} {figure.unit:<13}{ratio}".rstrip())


def _say(text: str) -> None:
    sys.stderr.write(f"bench: {text} …\n")


if __name__ == "__main__":
    sys.exit(main())
