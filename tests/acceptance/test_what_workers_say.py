"""Reports and heartbeats that come late, again, forged or broken, from a worker that a test plays."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from breakable import CHAIN, Json, Pretender
from live import Live
from stories import python

from noetl.store import postgres as store


def test_what_a_worker_has_never_heard_of_is_not_lost_under_it(idle: Live) -> None:
    """Invariant 4: an answer to a claim that got lost costs time, not one of the command's lives."""
    pretender = Pretender(idle)
    execution = idle.execute(CHAIN)
    for _ in range(4):
        command = pretender.claim(execution)
        idle.until(
            lambda: (
                pretender.beat() is not None
                and idle.sql("SELECT status FROM noetl.command WHERE execution_id = $1", int(execution))[0]["status"] == "waiting"
            ),
            "it waits again",
        )
    (row,) = idle.sql("SELECT lost, fence FROM noetl.command WHERE execution_id = $1", int(execution))
    assert row == {"lost": 0, "fence": command["fence"] + 1}
    idle.api.post(f"/api/executions/{execution}/cancel")


def test_a_worker_whose_server_was_away_has_not_lost_its_commands(idle: Live) -> None:
    """Invariant 4: taken away for good, but not counted against the command."""
    pretender = Pretender(idle)
    execution = idle.execute(CHAIN)
    command = pretender.claim(execution)
    idle.sql("UPDATE noetl.command SET lease_until = now() - interval '1 s' WHERE execution_id = $1", int(execution))
    query = "SELECT status, lost FROM noetl.command WHERE execution_id = $1"
    idle.until(lambda: idle.sql(query, int(execution)) == [{"status": "waiting", "lost": 1}], "its lease has run out")
    key = [command["execution_id"], command["command_id"], command["fence"]]
    assert pretender.beat(held=[key])["lost"] == [key]
    assert idle.sql(query, int(execution)) == [{"status": "waiting", "lost": 0}]
    idle.api.post(f"/api/executions/{execution}/cancel")


def test_a_lease_that_is_just_being_decided_about_is_no_lease_to_begin_under(idle: Live) -> None:
    """Invariant 4: whoever has a command locked may be taking it away: the answer says that it is not known yet."""
    pretender = Pretender(idle)
    execution = idle.execute(CHAIN)
    command = pretender.claim(execution)
    key = [command["execution_id"], command["command_id"], command["fence"]]

    async def locked() -> dict[str, Json]:
        held = await asyncpg.connect(**store.connection(idle.postgres))
        try:
            async with held.transaction():
                await held.execute("SELECT 1 FROM noetl.command WHERE execution_id = $1 FOR UPDATE", int(execution))
                return await asyncio.to_thread(pretender.beat, held=[key], begun=[key])
        finally:
            await held.close()

    during, after = asyncio.run(locked()), pretender.beat(held=[key], begun=[key])
    assert (during["lost"], during["unsure"]) == ([], [key])
    assert (after["lost"], after["unsure"]) == ([], [])
    idle.api.post(f"/api/executions/{execution}/cancel")


def test_e14_the_same_report_again_gets_the_same_next_commands(idle: Live) -> None:
    pretender = Pretender(idle)
    execution = idle.execute(CHAIN)
    command = pretender.claim(execution)
    _, first = pretender.report(command, b"1")
    _, again = pretender.report(command, b"1")
    assert first["answers"] == ["recorded"]
    assert again["answers"] == ["duplicate"]
    assert [one["step"] for one in first["commands"]] == ["middle"]
    assert again["commands"] == first["commands"]
    (middle,) = first["commands"]
    _, third = pretender.report(middle, b"2")
    assert pretender.report(third["commands"][0], b"3")[1]["commands"] == []
    assert idle.finish(execution)["result"] == 3
    assert len(idle.events(execution, "call.done")) == 3


def test_invariant_3_late_and_forged_reports_change_nothing(idle: Live) -> None:
    """Invariant 3."""
    pretender = Pretender(idle)
    execution = idle.execute(CHAIN)
    command = pretender.claim(execution)

    def state() -> Json:
        commands = idle.sql("SELECT command_id, status, fence, result::text FROM noetl.command WHERE execution_id = $1", int(execution))
        return commands, idle.events(execution), idle.status(execution)["status"]

    before = state()
    forged = [
        {**command, "fence": command["fence"] + 1},
        {**command, "fence": 0},
        {**command, "command_id": 77},
    ]
    for other in forged:
        status, answer = pretender.report(other, b'"forged"')
        assert (status, answer["answers"], answer["commands"]) == (200, ["stale"], [])
        assert state() == before
    status, answer = pretender.report({**command, "execution_id": "12345"}, b'"forged"')
    assert answer["answers"] == ["refused: not_found"]
    assert pretender.report(command, b"1")[1]["answers"] == ["recorded"]
    before = state()
    assert pretender.report(command, b'"another result"')[1]["answers"] == ["duplicate"]
    assert state() == before
    idle.api.post(f"/api/executions/{execution}/cancel")
    before = state()
    assert pretender.report({**command, "command_id": 2, "fence": 1}, b"2")[1]["answers"] == ["stale"]
    assert state() == before


@pytest.mark.parametrize(
    "body", [b'"\\u0000"', b"NaN", b"{nonsense", b'"\\ud800"', b'"\xff\xfe"', b"[" * 100_000, b"1e999", b"9223372036854775808"]
)
def test_e15_an_odd_report_is_stored_or_fails_its_step(idle: Live, body: bytes) -> None:
    """What a worker that does not behave may send."""
    pretender = Pretender(idle)
    execution = idle.execute(CHAIN)
    status, answer = pretender.report(pretender.claim(execution), body)
    assert (status, answer["answers"]) == (200, ["recorded"])
    found = idle.status(execution)
    if found["status"] == "FAILED":
        assert found["error"]["type"] == "result"
    else:
        idle.events(execution)
        assert [one["step"] for one in answer["commands"]] == ["middle"]
        idle.api.post(f"/api/executions/{execution}/cancel")


VALUES = {
    "nul": (r"'a\0b'", "a\0b"),
    "nan": "float('nan')",
    "infinity": "float('inf')",
    "two to the 63rd": ("2**63", 2**63),
    "two to the 200th": "2**200",
    "a lone surrogate": r"'\ud800'",
    "odd letters": (r"'\U0001F600 \u202e \u0301 \x7f'", "\U0001f600 \u202e \u0301 \x7f"),
    "five megabytes": ("'x' * 5_000_000", "x" * 5_000_000),
    "an object": "object()",
    "bytes": r"b'\xff\0'",
    "a set": "{1}",
    "deep": "eval('[' * 90 + ']' * 90)",
    "keys": ("{1: 2, None: 3, 'a': {}}", None),
}


@pytest.mark.parametrize("name", VALUES)
def test_e15_an_odd_result_is_stored_or_refused(live: Live, name: str) -> None:
    """What comes back is what went in, or the step fails with a clear error; the next execution completes."""
    code, *expected = VALUES[name] if isinstance(VALUES[name], tuple) else (VALUES[name],)
    ended = live.run(python("odd", ("start", f"def main():\n    return {code}"), ("end", "def main(start):\n    return start")))
    if ended["status"] == "COMPLETED":
        result = live.result(ended["execution_id"], "end")
        assert not expected or expected[0] in (None, result)
        live.api.get(f"/api/executions/{ended['execution_id']}")
    else:
        assert ended["error"]["message"]
        assert ended["error"]["type"] != "internal"
        assert not expected or "NUL" in ended["error"]["message"].upper() or "\\u0000" in ended["error"]["message"], ended["error"]
    assert live.run(python("even", ("start", "result = 'well'")))["result"] == "well"
