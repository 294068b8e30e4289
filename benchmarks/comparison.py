"""Figures of noetl beside those of its peers: what is better, by how much, and what is to reach. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from benchmarks.peers.peer import Work


@dataclass(frozen=True)
class Target:
    """A bound of noetl's figure divided by a peer's; `peer` is a name, or `best` for the best that was measured."""

    ratio: float
    peer: str


@dataclass(frozen=True)
class Measure:
    """One thing that is measured with everybody: a unit, and how seconds become a figure."""

    name: str
    work: Work
    unit: str
    times: int
    targets: tuple[Target, ...]
    repeats: int = 1

    @property
    def rate(self) -> bool:
        """Whether more is better."""
        return self.unit.endswith("/s")

    def figure(self, seconds: float) -> float:
        """Return what one run that took so long amounts to."""
        return self.times / seconds if self.rate else seconds * 1000 / self.times


MEASURES = (
    Measure("chain of 200 steps", Work("chain", 200), "ms/step", 200, (Target(0.8, "Restate"), Target(0.4, "DBOS")), repeats=5),
    Measure("loop of 2,000 items", Work("loop", 2000), "items/s", 2000, (Target(2.5, "best"),)),
    Measure("a lone execution of 3 steps, p50", Work("chain", 3), "ms", 1, (Target(0.7, "Restate"),), repeats=20),
    Measure("500 executions of 3 steps", Work("many", 500), "executions/s", 500, (Target(1.7, "best"),), repeats=3),
)
CPU = Measure("CPU of a step, 500 executions of 3", Work("many", 500), "ms CPU/step", 1500, (Target(1.0, "Restate"),))


@dataclass(frozen=True)
class Result:
    """What one of them reached in one measure: the median of its runs, or why there is none."""

    figure: float | None
    runs: int = 0
    problem: str = ""


@dataclass(frozen=True)
class Verdict:
    """A target, the figure that reaches it, and whether noetl's does; nothing where the peer has no figure."""

    target: Target
    needed: float | None
    reached: bool | None


@dataclass(frozen=True)
class Row:
    """A measure with everybody's results and noetl's ratio to each."""

    measure: Measure
    noetl: Result
    peers: Mapping[str, Result]
    ratios: Mapping[str, float | None]
    verdicts: tuple[Verdict, ...]


def result(measure: Measure, seconds: Sequence[float], problem: str = "") -> Result:
    """Return the median of runs; a problem stands where there were none."""
    if problem or not seconds:
        return Result(None, len(seconds), problem or "not run")
    return Result(statistics.median(measure.figure(one) for one in seconds), len(seconds))


def row(measure: Measure, noetl: Result, peers: Mapping[str, Result]) -> Row:
    """Compare noetl with its peers in one measure."""
    ratios = {name: noetl.figure / other.figure if noetl.figure is not None and other.figure else None for name, other in peers.items()}
    return Row(measure, noetl, peers, ratios, tuple(_verdict(measure, target, noetl, peers) for target in measure.targets))


def table(rows: Sequence[Row]) -> list[str]:
    """Return the lines of a table; what could not be measured says why below it."""
    names = list(rows[0].peers) if rows else []
    cells = [["measure", "unit", "noetl", *names, "to reach", ""]]
    problems: dict[tuple[str, str], list[str]] = {}
    for one in rows:
        beside = [_beside(one.peers[name], one.ratios[name]) for name in names]
        reached = ", ".join({True: "reached", False: "missed", None: "no figure"}[verdict.reached] for verdict in one.verdicts)
        cells.append([one.measure.name, one.measure.unit, _number(one.noetl.figure), *beside, _to_reach(one), reached])
        for name, other in (("noetl", one.noetl), *one.peers.items()):
            if other.figure is None:
                problems.setdefault((name, other.problem), []).append(one.measure.name)
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return [*lines, *(f"{name}: {problem} (no figure: {', '.join(measures)})" for (name, problem), measures in problems.items())]


def document(one: Row) -> dict[str, object]:
    """Return a row as JSON has it."""
    return {
        "measure": one.measure.name,
        "unit": one.measure.unit,
        "noetl": asdict(one.noetl),
        "peers": {name: {**asdict(other), "ratio": one.ratios[name]} for name, other in one.peers.items()},
        "targets": [{**asdict(verdict.target), "needed": verdict.needed, "reached": verdict.reached} for verdict in one.verdicts],
    }


def _verdict(measure: Measure, target: Target, noetl: Result, peers: Mapping[str, Result]) -> Verdict:
    figures = [other.figure for name, other in peers.items() if other.figure is not None and target.peer in (name, "best")]
    if not figures:
        return Verdict(target, None, None)
    needed = target.ratio * (max(figures) if measure.rate else min(figures))
    if noetl.figure is None:
        return Verdict(target, needed, None)
    return Verdict(target, needed, noetl.figure >= needed if measure.rate else noetl.figure <= needed)


def _to_reach(one: Row) -> str:
    sign = "≥" if one.measure.rate else "≤"
    return ", ".join(
        f"{sign} {verdict.target.ratio}x {verdict.target.peer}" + (f" = {_number(verdict.needed)}" if verdict.needed is not None else "")
        for verdict in one.verdicts
    )


def _beside(other: Result, ratio: float | None) -> str:
    if other.figure is None:
        return "–"
    return _number(other.figure) + (f" ({ratio:.2f}x)" if ratio is not None else "")


def _number(figure: float | None) -> str:
    if figure is None:
        return "–"
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.2f}"
