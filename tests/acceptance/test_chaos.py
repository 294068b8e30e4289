"""Everything at once: a short run of the chaos suite, its plan always the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(180)
def test_a_stack_that_is_broken_all_the_time_loses_nothing() -> None:
    words = [sys.executable, "-m", "chaos", "--seconds", "12", "--seed", "22", "--json"]
    ended = subprocess.run(words, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-4000:]
    report = json.loads(ended.stdout)
    assert report["problems"] == {}
    assert len(report["timeline"]) > 5
    assert report["counts"]["accepted"] > 10 and report["counts"]["COMPLETED"] > 10
