"""What nothing is asked of costs next to nothing, and what is over leaves nothing in a server's memory."""

from __future__ import annotations

import contextlib
import re
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
from live import Live
from stories import HEAD

MakeLive = Callable[..., contextlib.AbstractContextManager[Live]]
WATCHED = 10.0
MIB = 1024**2
PAYLOAD = MIB
CHAIN = (
    HEAD.format(name="passes")
    + """\
  - {step: start, tool: {kind: python, args: {text: "{{ workload.text }}"}, code: "result = text[:200_000]"}, next: end}
  - {step: end, tool: {kind: python, args: {text: "{{ start }}"}, code: "result = len(text)"}}
"""
)


def test_nothing_is_asked_of_the_database_more_often_than_every_two_seconds(
    make_live: MakeLive, superuser_sql: Callable[..., str], embedded_home: Path
) -> None:
    with make_live() as one:
        superuser_sql(f"ALTER DATABASE {one.postgres.database} SET log_statement = 'all'")
        one.server()
        one.worker()
        assert one.run(HEAD.format(name="once") + "  - {step: start, tool: {kind: python, code: 'result = 1'}}\n")["result"] == 1
        log = embedded_home / "logs" / "postgres.log"
        time.sleep(2)
        before, began = log.stat().st_size, time.monotonic()
        time.sleep(WATCHED)
        elapsed = time.monotonic() - began
        with log.open("rb") as file:
            file.seek(before)
            lines = file.read().decode(errors="replace").splitlines()
        asked = Counter(
            re.sub(r"^.*? LOG:  (statement|execute [^:]+): ", "", line) for line in lines if f"@{one.postgres.database} LOG:  " in line
        )
        assert len(asked) > 5, "the sweep's are there"
        # A transaction begins and ends around each of several.
        often = {text: times for text, times in asked.items() if times > elapsed / 2 + 1 and not re.match(r"(BEGIN|COMMIT)\b", text)}
        assert often == {}


def test_a_servers_memory_does_not_grow_with_what_is_over(make_live: MakeLive) -> None:
    with make_live() as one:
        server = psutil.Process(one.server().pid)
        one.worker()
        one.register(CHAIN)

        def some(times: int) -> int:
            """Run executions with a large payload and return the memory that the server has then."""
            with ThreadPoolExecutor(4) as pool:
                for ended in pool.map(lambda _: run(one), range(times)):
                    assert ended == 200_000
            return int(server.memory_info().rss)

        before = some(60)
        assert some(120) - before < 40 * MIB, "of 120 MiB that went through it"


def run(live: Live) -> object:
    """Run an execution with a payload of its own."""
    body = {"path": "tests/passes", "payload": {"text": f"{time.monotonic_ns()}" * (PAYLOAD // 16)}}
    return live.finish(str(live.api.post("/api/execute", body)["execution_id"]))["result"]
