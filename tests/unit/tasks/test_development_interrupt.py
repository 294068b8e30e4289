"""What a development verb runs has the time that it needs to put things in order when it is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from noetl.tasks import development
try:
    development._run([sys.executable, "-c", sys.argv[1], sys.argv[2]])
except KeyboardInterrupt:
    sys.exit(130)
"""
CHILD = """
import pathlib, sys, time
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(1)
    pathlib.Path(sys.argv[1]).write_text("in order")
"""


def test_it_is_not_killed_while_it_puts_things_in_order(tmp_path: Path) -> None:
    words = [sys.executable, "-c", PROGRAM, CHILD, str(tmp_path / "left")]
    running = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True, cwd=Path(__file__).parents[3])
    with running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        os.killpg(running.pid, signal.SIGINT)
        assert running.wait(60) == 130
    assert (tmp_path / "left").read_text() == "in order"
