"""Figures beside those of peers: medians, ratios, targets, the table."""

from __future__ import annotations

import json

import pytest

from benchmarks import comparison
from benchmarks.comparison import CPU, MEASURES, Measure, Result

CHAIN, LOOP, LONE, MANY = MEASURES


@pytest.mark.parametrize(
    ("measure", "seconds", "figure"),
    [
        (CHAIN, [0.4, 9.0, 0.2], 2.0),
        (LOOP, [1.0, 4.0, 2.0], 1000.0),
        (MANY, [0.5], 1000.0),
        (LONE, [0.010, 0.020], 15.0),
        (CPU, [3.0], 2.0),
    ],
)
def test_a_result_is_the_median_of_runs(measure: Measure, seconds: list[float], figure: float) -> None:
    found = comparison.result(measure, seconds)
    assert found.figure == pytest.approx(figure)
    assert found.runs == len(seconds)


def test_a_problem_stands_where_a_figure_would() -> None:
    assert comparison.result(CHAIN, [0.4], "it fell over") == Result(None, 1, "it fell over")
    assert comparison.result(CHAIN, []).problem == "not run"


def test_less_is_better_for_time_and_each_target_has_its_verdict() -> None:
    row = comparison.row(CHAIN, Result(1.5, 3), {"Restate": Result(2.0, 3), "DBOS": Result(3.0, 3)})
    assert row.ratios == {"Restate": pytest.approx(0.75), "DBOS": pytest.approx(0.5)}
    assert [(verdict.needed, verdict.reached) for verdict in row.verdicts] == [
        (pytest.approx(1.6), True),
        (pytest.approx(1.2), False),
    ]


def test_more_is_better_for_rates_and_the_best_peer_counts() -> None:
    peers = {"Restate": Result(400.0, 3), "DBOS": Result(170.0, 3), "Prefect": Result(None, 0, "no network")}
    (below,) = comparison.row(LOOP, Result(999.0, 3), peers).verdicts
    (above,) = comparison.row(LOOP, Result(1001.0, 3), peers).verdicts
    assert (below.needed, below.reached, above.reached) == (1000.0, False, True)


def test_a_target_without_its_peer_has_no_verdict() -> None:
    row = comparison.row(LONE, Result(9.0, 3), {"DBOS": Result(30.0, 3), "Restate": Result(None, 0, "no network")})
    assert row.ratios["Restate"] is None
    assert [(verdict.needed, verdict.reached) for verdict in row.verdicts] == [(None, None)]


def test_a_figure_of_noetl_that_is_missing_reaches_nothing() -> None:
    row = comparison.row(LONE, Result(None, 0, "it fell over"), {"Restate": Result(10.0, 3)})
    assert row.ratios == {"Restate": None}
    assert [(verdict.needed, verdict.reached) for verdict in row.verdicts] == [(7.0, None)]


def test_the_table_has_figures_ratios_targets_and_says_once_why_a_peer_has_none() -> None:
    peers = {"Restate": Result(2.0, 3), "DBOS": Result(None, 0, "pip failed")}
    lines = comparison.table([comparison.row(CHAIN, Result(1.0, 3), peers), comparison.row(LONE, Result(10.0, 3), peers)])
    assert lines[0].split() == ["measure", "unit", "noetl", "Restate", "DBOS", "to", "reach"]
    assert "2.00 (0.50x)" in lines[1]
    assert "≤ 0.8x Restate = 1.60, ≤ 0.4x DBOS" in lines[1]
    assert lines[1].endswith("reached, no figure")
    assert lines[2].endswith("missed")
    assert lines[3:] == [f"DBOS: pip failed (no figure: {CHAIN.name}, {LONE.name})"]


def test_a_row_is_json() -> None:
    row = comparison.row(LONE, Result(7.0, 60), {"Restate": Result(14.0, 60)})
    assert json.loads(json.dumps(comparison.document(row))) == {
        "measure": LONE.name,
        "unit": "ms",
        "noetl": {"figure": 7.0, "runs": 60, "problem": ""},
        "peers": {"Restate": {"figure": 14.0, "runs": 60, "problem": "", "ratio": 0.5}},
        "targets": [{"ratio": 0.7, "peer": "Restate", "needed": pytest.approx(9.8), "reached": True}],
    }
