"""The disk of the database is full while executions run: they say so, wait, and go on when there is room again."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from live import Live, stopping
from stories import HEAD
from test_doctor import small_disk

from noetl import home as files
from noetl.errors import Unavailable
from noetl.ops import reasons, stack
from noetl.settings import Postgres, Settings

Json = Any
ITEMS = 1500
LOOP = (
    HEAD.format(name="fills")
    + """\
  - step: start
    loop: {in: "{{ range(workload['items']) | list }}", iterator: n, mode: parallel}
    tool: {kind: python, args: {n: "{{ n }}"}, code: "import os\\nresult = {'n': n, 'text': os.urandom(8000).hex()}"}
    next: end
  - step: end
    tool: {kind: python, args: {rows: "{{ start.results }}"}, code: "result = [row['n'] for row in rows]"}
"""
)


def test_a_disk_that_fills_up_while_a_loop_runs(tmp_path: Path, outside: Postgres) -> None:
    with small_disk(tmp_path / "disk", "size=160m") as disk, contextlib.ExitStack() as afterwards:
        home = disk / "home"
        stack.start(Settings(home=home))
        afterwards.callback(stack.stop_all, Settings(home=home), force=True, timeout=5)
        embedded = files.read_embedded(home)
        assert embedded.postgres is not None and embedded.nats_url is not None
        with stopping(Live(tmp_path / "live", embedded.postgres, embedded.nats_url, outside)) as one:
            one.server()
            one.worker(slots=2)
            execution = one.execute(LOOP, {"items": ITEMS})
            one.until(lambda: one.events(execution, "call.done"), "the loop has begun")
            fill(disk / "fill")
            found = one.until(lambda: unstored(one, execution), "it is told why nothing moves")
            assert (found["verdict"], reasons.exit_code(found), found["type"][0]) == ("stuck", 3, "noetl doctor")
            text = found["reasons"][0]["text"]
            assert text.startswith("nothing that happens can be stored: the database at ")
            assert " has no room on its disk: could not extend file " in text
            assert {reason["moves"] for reason in found["reasons"] if reason["state"] not in ("nats", "skipped")} == {False}
            refused: list[Unavailable] = []

            def begin() -> bool:
                try:
                    one.execute(HEAD.format(name="more") + "  - {step: start, tool: {kind: python, code: 'result = 1'}}\n")
                except Unavailable as error:
                    refused.append(error)
                return bool(refused)

            one.until(begin, "what begins now is refused")
            assert "has no room on its disk" in refused[0].message and refused[0].hint.startswith("make room there (df -h ")
            (disk / "fill").unlink()
            ended = one.finish(execution)
            assert (ended["status"], ended["result"]) == ("COMPLETED", list(range(ITEMS)))
            assert one.sql("SELECT count(*) AS n FROM noetl.command WHERE step = 'start' AND status = 'done'")[0]["n"] >= ITEMS
            assert {reason["state"] for reason in one.api.get(f"/api/executions/{execution}/why")["reasons"]} == {"over"}


def unstored(live: Live, execution: str) -> dict[str, Json] | None:
    """Return why an execution does not move, once that is for want of room."""
    found: dict[str, Json] = live.api.get(f"/api/executions/{execution}/why")
    return found if found["reasons"][0]["state"] == "unstored" else None


def fill(file: Path) -> None:
    """Leave no room on a disk."""
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as out:
        while True:
            out.write(os.urandom(4096) * 64)
