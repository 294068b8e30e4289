"""A server rings; one without NATS, whose workers long-poll, keeps nothing of what it would have rung for."""

from __future__ import annotations

import gc
from pathlib import Path

from noetl.server.runtime import Runtime
from noetl.settings import Postgres, Secret, read


async def test_without_nats_rings_leave_nothing(tmp_path: Path) -> None:
    settings = read({"NOETL_HOME": str(tmp_path)})
    runtime = Runtime(settings, Postgres("nowhere.invalid", 1, "noetl", "noetl", Secret("")), None, None, Secret("token"))
    commands = [("default", 1, number) for number in range(3)]
    runtime.ring(commands)
    gc.collect()
    assert runtime.waiting == {"default"}
    assert [kept for kept in gc.get_referrers(commands[0]) if isinstance(kept, list) and kept is not commands] == []
