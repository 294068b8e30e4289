"""Everything at once: a short run of the chaos suite, its plan always the same."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from noetl.ops.process import runs_still

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


@pytest.mark.timeout(180)
@pytest.mark.parametrize("times", [1, 3])
def test_ctrl_c_leaves_nothing_of_it(times: int) -> None:
    """A terminal interrupts the verb and the suite below it, as often as somebody is impatient."""
    words = [str(Path(sys.executable).parent / "inv"), "chaos", "--seconds", "60", "--seed", "5"]
    running = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert running.stderr is not None
        said = ""
        while "stop" not in said and "kill" not in said:
            line = running.stderr.readline()
            assert line, said
            said += line
        for _ in range(times):
            os.killpg(running.pid, signal.SIGINT)
            time.sleep(0.4)
        said += running.communicate(timeout=90)[1]
    finally:
        running.kill()
    found = re.search(r"starts in (\S+)", said)
    assert found, said
    assert running.returncode == 130, said
    assert not Path(found[1]).exists(), said
    assert _of(found[1]) == [], said


def test_a_process_that_ends_while_it_is_looked_at_is_in_no_ones_way(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = subprocess.Popen(["true"])
    one = psutil.Process(ended.pid)
    ended.wait()
    monkeypatch.setattr(one, "is_running", lambda: True)
    assert not runs_still(one)
    assert runs_still(psutil.Process())


def _of(home: str) -> list[str]:
    """Return the command lines of processes that have to do with a folder."""
    named = []
    for process in psutil.process_iter():
        try:
            if home in " ".join(process.cmdline()) or process.environ().get("NOETL_HOME") == home:
                named.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return named
