"""Why an execution does not move: what each of its runs waits for, which of it moves by itself, and what to type where it does not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from noetl.engine.state import TERMINAL, LoopState, decode
from noetl.engine.value import loads
from noetl.server.answers import iso

if TYPE_CHECKING:
    from noetl.server.runtime import Runtime

Json = Any
DEEPEST = 5
"""How many sub-playbooks below one another are explained."""
SKIPPED = 5
"""How many steps that were skipped are named."""
BESIDE = ("loop", "deadline", "nats", "turn", "skipped")
"""What is told beside the reasons, and says nothing of whether it moves."""
MOVING, STUCK, OVER = "moving", "stuck", "over"


async def why(runtime: Runtime, row: Mapping[str, Any], depth: int = 0) -> dict[str, Json]:
    """Explain an execution: a verdict (`moving`, `stuck`, `over`), reasons with the likeliest first, and commands to type."""
    if row["status"] in TERMINAL:
        return await _ended(runtime, row)
    reasons = [await _reason(runtime, row, group, depth) for group in await runtime.database.rows("why_commands", row["execution_id"])]
    state = loads(row["state"])
    loops = {run.id: run.loop for run in decode(state).runs.values() if run.loop is not None}
    reasons += [_loop(loop, loops.get(loop["run_id"])) for loop in await runtime.database.rows("why_loops", row["execution_id"])]
    paused = state.get("paused")
    if paused is not None:
        reasons.insert(0, _paused(row, paused))
        for reason in reasons[1:]:
            reason["moves"] = reason["moves"] and reason["state"] == "running"
    elif row["due_at"] is not None:
        reasons.append(_timer(state, row["due_at"]))
    if not reasons:
        reasons.append(
            _told(
                "nothing",
                "no command of it waits or runs, and nothing of it is due: it was changed from outside",
                False,
                type=[f"noetl execution cancel {row['execution_id']}", f"noetl execution retry {row['execution_id']}"],
            )
        )
    reasons += await _skipped(runtime, row)
    if (refused := runtime.committer.refused()) is not None:
        for reason in reasons:
            reason["moves"] = False
        text = f"nothing that happens can be stored: {refused[1]}"
        reasons.insert(0, _told("unstored", text, False, since=datetime.fromtimestamp(refused[0], UTC), type=["noetl doctor"]))
    if runtime.bus is not None and not runtime.bus.connected:
        reasons.append(_told("nats", "NATS does not answer: workers ask the server instead, a little later", True, type=["noetl ps"]))
    counted = [reason for reason in reasons if reason["state"] not in BESIDE]
    moving = any(reason["moves"] for reason in counted)
    reasons.sort(key=lambda reason: (reason["state"] in BESIDE, reason["moves"]))
    error = await runtime.database.row("why_error", row["execution_id"])
    failing = state.get("failure")
    return {
        **_head(row),
        "verdict": MOVING if moving else STUCK,
        "reasons": reasons,
        "last_error": failing or (_error(error) if error is not None else None),
        "type": _typed(reasons, [f"noetl execution cancel {row['execution_id']}"] if not moving else []),
    }


async def _ended(runtime: Runtime, row: Mapping[str, Any]) -> dict[str, Json]:
    """Explain how an execution ended."""
    eid = row["execution_id"]
    reasons = []
    error = loads(row["error"]) if row["error"] else None
    if row["status"] == "COMPLETED":
        reasons.append(_told("over", "it has COMPLETED", True, since=row["end_time"]))
    else:
        told = error or {}
        left = [one.run for one in decode(loads(row["state"])).left if one.run is not None]
        found = await runtime.database.rows("why_failed", eid, told.get("step"), left, told.get("on_failure", {}).get("step"))
        reasons = [_failure(failed) for failed in found]
        if not any(reason["message"] == told.get("message") for reason in reasons):
            place = {"step": told["step"], "run_id": None} if told.get("step") else None
            what = str(told.get("message") or row["status"])
            reasons.insert(0, _told("over", what, False, place, since=row["end_time"], hint=told.get("hint")))
    reasons += await _skipped(runtime, row)
    again = [] if row["status"] == "COMPLETED" else [f"noetl execution retry {eid} --dry-run", f"noetl execution retry {eid}"]
    return {**_head(row), "verdict": OVER, "reasons": reasons, "last_error": error, "type": _typed(reasons, again)}


def _failure(failed: Mapping[str, Any]) -> dict[str, Json]:
    error = loads(failed["error"]) if failed["error"] else {}
    what = str(error.get("message") or "it failed")
    child = error.get("child")
    facts = {"message": error.get("message"), "error_type": error.get("type"), "hint": error.get("hint"), "child": child}
    facts |= {"attempts": failed["attempt"], "lost": failed["lost"], "items": failed["count"] if failed["item"] is not None else None}
    typed = [f"noetl execution why {child}"] if child else []
    return _told("failed", what, False, failed, since=failed["finished_at"], type=typed, item=failed["item"], **facts)


async def _reason(runtime: Runtime, row: Mapping[str, Any], group: Mapping[str, Any], depth: int) -> dict[str, Json]:
    """Explain the commands of one run that are in one situation."""
    if group["pool"] == "@engine" and group["status"] == "running":
        return await _child(runtime, row, group, depth)
    if group["status"] == "running":
        return _leased(group, runtime.clock())
    if group["delayed"]:
        error = _error(group)
        after = f" after: {error['message']}" if error and error.get("message") else ""
        hint = error.get("hint") if error else None
        return _told(
            "delayed",
            f"attempt {group['attempt']} waits for its time{after}",
            True,
            group,
            since=group["since"],
            until=group["available_at"],
            hint=hint,
        )
    if group["held"]:
        text = "waits for its turn on the execution's DuckDB file: an earlier command on it waits or runs"
        return _told("turn", text, True, group, since=group["since"])
    if group["pool"] == "@engine":
        return _told("queued", "a server is about to begin the sub-playbook", True, group, since=group["since"])
    return await _queued(runtime, group, paused=row["status"] == "PAUSED")


async def _queued(runtime: Runtime, group: Mapping[str, Any], *, paused: bool) -> dict[str, Json]:
    pool = group["pool"]
    workers = await runtime.database.rows("why_pool", pool)
    alive = [worker for worker in workers if worker["status"] == "ready"]
    names = [worker["name"] for worker in alive]
    slots, used = sum(worker["slots"] for worker in alive), sum(worker["leases"] for worker in alive)
    facts: dict[str, Json] = {"pool": pool, "workers": names, "slots": slots, "used": used}
    if not alive:
        seen = max((worker["last_seen"] for worker in workers), default=None)
        last = f"; the last one was heard of {seen:%Y-%m-%d %H:%M:%S} UTC" if seen else ""
        draining = "; one drains" if any(worker["status"] == "draining" for worker in workers) else ""
        start = "noetl worker start" if pool == "default" else f"noetl worker start --pool {pool}"
        return _told(
            "no_worker", f"no worker of pool {pool} is alive{draining}{last}", False, group, since=group["since"], type=[start], **facts
        )
    if used >= slots:
        busy = await runtime.database.rows("why_busy", pool)
        by = ", ".join(f"{one['count']} × {one['step']} of {one['path']} ({one['execution_id']})" for one in busy)
        start = "noetl worker start" + ("" if pool == "default" else f" --pool {pool}")
        ahead = f" and {used - slots} more taken ahead" if used > slots else ""
        text = f"the workers of pool {pool} are busy: {min(used, slots)} of {slots} slots{ahead}, by {by}"
        return _told("busy", text, True, group, since=group["since"], type=[start], **facts)
    if paused:
        return _told("queued", "waits until the execution goes on", False, group, since=group["since"], **facts)
    waited = runtime.clock() - group["since"].timestamp()
    if waited < 10:
        return _told(
            "queued",
            f"workers of pool {pool} have {slots - used} free slots and are about to take it",
            True,
            group,
            since=group["since"],
            **facts,
        )
    text = f"workers of pool {pool} have {slots - used} free slots and do not take it"
    restart = f"noetl worker restart --name {names[0]}" + ("" if pool == "default" else f" --pool {pool}")
    return _told("not_taken", text, False, group, since=group["since"], type=["noetl worker list", restart], **facts)


def _leased(group: Mapping[str, Any], now: float) -> dict[str, Json]:
    expired = group["lease_until"].timestamp() < now
    facts = {
        "worker": group["worker_id"],
        "host": group["host"],
        "pid": group["pid"],
        "lease_until": iso(group["lease_until"]),
        "last_heartbeat": iso(group["last_seen"]),
        "lost": group["lost"],
    }
    name = group["worker_name"] or group["worker_id"]
    where = f"worker {name} on {group['host']}" if group["host"] else f"worker {name}"
    if expired or group["worker_status"] == "gone":
        text = f"{where} is not heard of; its lease ends and another worker takes over (lost {group['lost']} of 3 times)"
        return _told(
            "lease_lost", text, True, group, since=group["claimed_at"], until=group["lease_until"], type=["noetl worker list"], **facts
        )
    text = f"{where} runs it" + (f", attempt {group['attempt']}" if group["attempt"] > 1 else "")
    return _told("running", text, True, group, since=group["claimed_at"], **facts)


async def _child(runtime: Runtime, row: Mapping[str, Any], group: Mapping[str, Any], depth: int) -> dict[str, Json]:
    found = await runtime.database.row("why_child", row["execution_id"], group["command_id"])
    if found is None:
        return _told("child", "a server is about to begin the sub-playbook", True, group, since=group["claimed_at"])
    child = str(found["execution_id"])
    until = group["lease_until"]
    if depth + 1 >= DEEPEST:
        text = f"waits for execution {child} of {found['path']}, {found['status']}"
        return _told("child", text, True, group, since=group["claimed_at"], until=until, child=child, type=[f"noetl execution why {child}"])
    inner = await why(runtime, found, depth + 1)
    text = f"waits for execution {child} of {found['path']}, {found['status']}"
    moves = inner["verdict"] != STUCK
    # What to type about the child, but for cancelling it: who asks does so about the parent.
    typed = [] if moves else [line for line in inner["type"] if "execution cancel" not in line]
    return _told("child", text, moves, group, since=group["claimed_at"], until=until, child=child, why=inner, type=typed)


def _paused(row: Mapping[str, Any], paused: Mapping[str, Json]) -> dict[str, Json]:
    by = paused.get("by")
    text = f"it is paused because its parent {by} is" if by else "it is paused" + (f": {paused['reason']}" if paused.get("reason") else "")
    at = datetime.fromtimestamp(paused["at"]).astimezone()
    return _told("paused", text, False, since=at, type=[f"noetl execution resume {by or row['execution_id']}"])


def _timer(document: Mapping[str, Any], due: datetime) -> dict[str, Json]:
    """Say what is due next: a run's time in all, what a failure leaves, or more of a loop."""
    state = decode(document)
    if state.failure is not None:
        return _told("timer", "the end of the time that what is in flight has after a failure", True, until=due)
    bounded = min((run for run in state.runs.values() if run.until is not None), key=lambda run: run.until or 0, default=None)
    if bounded is not None and bounded.until is not None and abs(bounded.until - due.timestamp()) < 1:
        place = {"step": bounded.step, "run_id": bounded.id}
        return _told("deadline", "the end of its `timeout.total`: what still runs of it is cancelled then", True, place, until=due)
    return _told("timer", "the next chunk of a loop, or its end", True, until=due)


async def _skipped(runtime: Runtime, row: Mapping[str, Any]) -> list[dict[str, Json]]:
    """Name the steps that were not run because of their `when`."""
    plan = await runtime.loader.plan(row["catalog_id"])
    if all(step.step.when is None for step in plan.steps.values()):
        return []
    runs: dict[str, list[Mapping[str, Any]]] = {}
    for skipped in await runtime.database.rows("steps_skipped", row["execution_id"]):
        runs.setdefault(skipped["step"], []).append(skipped)
    found = []
    for step, times in list(runs.items())[:SKIPPED]:
        often = f" {len(times)} times" if len(times) > 1 else ""
        text = f"was skipped{often}: its `when` was not true"
        place = {"step": step, "run_id": times[-1]["run_id"]}
        found.append(_told("skipped", text, True, place, since=times[-1]["created_at"], when=str(plan.steps[step].step.when)))
    return found


def _loop(loop: Mapping[str, Any], now: LoopState | None) -> dict[str, Json]:
    counts = {name: loop[name] for name in ("total", "issued", "done", "failed", "cancelled")}
    left = loop["total"] - loop["done"] - loop["failed"] - loop["cancelled"]
    text = f"items: {loop['done']} of {loop['total']} done, {loop['failed']} failed, {left} to come"
    limit = now.limit if now is not None and now.limit else None
    if limit is not None:
        text += "; one at a time" if limit == 1 else f"; at most {limit} at once"
    return _told("loop", text, True, loop, since=loop["created_at"], counts=counts, limit=limit)


def _told(state: str, text: str, moves: bool, group: Mapping[str, Any] | None = None, *, since: datetime | None = None,
          until: datetime | None = None, type: list[str] | None = None, **facts: Json) -> dict[str, Json]:  # fmt: skip
    place = {"step": group["step"], "run": group["run_id"], "commands": dict(group).get("count")} if group is not None else {}
    facts = {name: value for name, value in facts.items() if value is not None}
    return {**place, "state": state, "text": text, "moves": moves, "since": iso(since), "until": iso(until), "type": type or [], **facts}


def _head(row: Mapping[str, Any]) -> dict[str, Json]:
    names = ("path", "version", "status")
    head = {"execution_id": str(row["execution_id"]), **{name: row[name] for name in names}}
    return {**head, "start_time": iso(row["start_time"]), "end_time": iso(row["end_time"])}


def _error(row: Mapping[str, Any]) -> dict[str, Json] | None:
    if not row["error"]:
        return None
    error: dict[str, Json] = loads(row["error"])
    return {**error, "step": row["step"]}


def _typed(reasons: list[dict[str, Json]], more: list[str]) -> list[str]:
    """Return what to type: first for what does not move, each line once."""
    lines = [line for reason in reasons for line in reason["type"] if reason["state"] != "nats" or not reason["moves"]]
    return list(dict.fromkeys([*lines, *more]))
