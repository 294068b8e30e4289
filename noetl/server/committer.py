"""Moves executions on: everything that happens goes through here, many executions in one commit.

Group commit without a timer: an idle committer commits at once, what arrives during a commit goes with the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import orjson
from orjson import Fragment

from noetl.engine.advance import advance
from noetl.engine.inputs import Input, Wake, Withdrawn
from noetl.engine.outcome import Outcome
from noetl.engine.state import TERMINAL
from noetl.engine.turn import IllegalInput
from noetl.engine.value import NotHere, Value
from noetl.errors import NoetlError, Unavailable
from noetl.server.evaluator import Evaluator, Exceeded
from noetl.server.execution import Execution, anew
from noetl.server.loader import Loader
from noetl.server.pending import Begin, Handout, Pending, Report, Signal, Write, broken_input, engine_input
from noetl.store.postgres import Database, Kept, MovedOn, NotLeased, Outdated, Transaction, Unstorable

logger = logging.getLogger("noetl.server")
REMEMBERED = 5000
BATCH = 512
TRIES = 20
LATELY = 30.0
"""Seconds within which somebody has tried to store something, if there is anything to be stored."""
PATIENCE = 20.0
"""Seconds that a commit waits for a database that is away before it is given up."""

RECORDED, DUPLICATE, STALE = "recorded", "duplicate", "stale"


class Committer:
    """One loop that commits; `submit` puts things in and waits for what became of them."""

    def __init__(
        self,
        database: Database,
        loader: Loader,
        evaluator: Evaluator,
        *,
        env: Mapping[str, str],
        lease_seconds: float,
        ring: Callable[[Iterable[tuple[str, int, int]]], None],
        moved: Callable[[Execution, bool], None],
        tell: Callable[[Execution, list[int]], dict[int, Fragment] | None],
        at_hand: Callable[[Execution, int], bool],
        offer: Callable[[str], Handout | None],
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._kept = database.kept()
        self._loader = loader
        self._evaluator = evaluator
        self._env = env
        self._lease = timedelta(seconds=lease_seconds)
        self._ring = ring
        self._moved = moved
        self._tell = tell
        self._at_hand = at_hand
        self._offer = offer
        self._clock = clock
        self._memory: OrderedDict[int, Execution] = OrderedDict()
        self._inbox: dict[int, list[Pending]] = {}
        self._ready: list[int] = []
        self._busy: set[int] = set()
        self._prepared: list[Write] = []
        self._work = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._refused: tuple[float, float, str] | None = None
        self.commits = 0
        self.inputs = 0

    def start(self) -> None:
        """Start the loop."""
        self._spawn(self._run())

    async def close(self) -> None:
        """Stop the loop. What was not committed was not accepted."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._kept.close()

    def put(self, pending: Pending) -> asyncio.Future[str]:
        """Put something in; the future tells what became of it once it is committed."""
        eid = pending.execution_id
        self._inbox.setdefault(eid, []).append(pending)
        if eid not in self._busy:
            self._busy.add(eid)
            self._ready.append(eid)
            self._work.set()
        return pending.future

    async def begin_copied(self, begin: Begin, outcome: Outcome, transaction: Transaction) -> Callable[[], None]:
        """Store a new execution and what follows from its beginning in a transaction; call what is returned once that is committed."""
        write = Write(begin.execution)
        write.add(begin, outcome, self._clock())
        withdrawn = await self._apply([write], transaction)
        return lambda: self._settled(write, withdrawn.get(begin.execution.id))

    def signal(self, execution_id: int, given: Input) -> asyncio.Future[str]:
        """Tell an execution that something happened."""
        return self.put(Signal(execution_id, given, unheard()))

    def report(self, execution_id: int, command: int, fence: int, result: Value | None, error: Mapping[str, Any] | None) -> None:
        """Report on a command that no worker reports on."""
        self.put(Report(execution_id, command, fence, self._clock(), unheard(), result=result, error=error))

    async def execution(self, execution_id: int, revision: int = 0) -> Execution:
        """Return an execution from memory, or read it where memory has none that is as new as this revision."""
        found = self._memory.get(execution_id)
        return found if found is not None and found.revision >= revision else await self._load(execution_id)

    def forget(self, execution_id: int) -> None:
        """Drop an execution from memory."""
        self._memory.pop(execution_id, None)

    def refused(self) -> tuple[float, str] | None:
        """Return since when the database has stored nothing, and why; None where it has, or nobody has tried of late."""
        if self._refused is None or self._clock() - self._refused[1] > LATELY:
            return None
        return self._refused[0], self._refused[2]

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("a task failed: %r", task.exception(), exc_info=task.exception())

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            ready, self._ready = self._ready[:BATCH], self._ready[BATCH:]
            for eid in ready:
                self._fold(eid)
            writes, self._prepared = self._prepared, []
            if self._ready:
                self._work.set()
            if writes:
                if any(write.handed for write in writes):
                    asyncio.get_running_loop().call_soon(self._foretell, writes)
                await self._commit(writes)

    def _fold(self, eid: int) -> None:
        """Work an execution's inputs out at once where nothing has to be read, else in a task of their own."""
        pendings = self._inbox.pop(eid)
        execution = pendings[0].execution if isinstance(pendings[0], Begin) else self._memory.get(eid)
        if execution is None:
            self._spawn(self._careful(eid, pendings))
            return
        write = Write(execution, self._offer)
        for index, pending in enumerate(pendings):
            if (isinstance(pending, Report) and pending.command not in execution.commands) or (index and write.begin):
                break
            try:
                given = engine_input(execution, pending)
                if self._loader.ready(execution, given) is not True:
                    break
                write.add(pending, advance(execution.plan, execution.state, given, execution.known(self._env)), self._clock())
            except (IllegalInput, NotHere):
                break
            except Exception:
                logger.exception("execution %d: an input could not be worked out", eid)
                write.undo()
                self._memory.pop(eid, None)
                self._spawn(self._careful(eid, pendings))
                return
        rest = pendings[len(write.pendings) :]
        if write.pendings:
            if rest:
                self._inbox[eid] = rest + self._inbox.get(eid, [])
            self._prepared.append(write)
        else:
            self._spawn(self._careful(eid, rest))

    def _foretell(self, writes: list[Write]) -> None:
        """While a commit is under way, put together what workers will be told of their next commands; with nothing else to do, send it."""
        for write in writes:
            # A commit that could not even be sent has taken back by now what it was to hand out.
            eid, execution = write.execution.id, write.execution
            handed = [(handout, command) for handout, command in write.handed if (eid, command) in handout.commands]
            handed = [(handout, command) for handout, command in handed if self._at_hand(execution, command)]
            try:
                told = self._tell(execution, [command for _, command in handed]) if handed else None
            except NoetlError:
                told = None
            if told is None:
                continue
            handout, command = handed[0]
            alone = len(writes) == 1 and len(handed) == 1
            if alone and handout.early is not None and handout.early(orjson.dumps(list(told.values()))):
                handout.shown.add((eid, command))
            for handout, command in handed:
                handout.told[eid, command] = told[command]

    async def _commit(self, writes: list[Write]) -> None:
        try:
            withdrawn = await self._apply(writes, self._kept)
        except Exception as error:
            if not isinstance(error, MovedOn | NotLeased | Outdated):
                logger.warning("a commit of %d executions failed and is tried one by one: %s", len(writes), error)
            for write in writes:
                write.undo()
                self._memory.pop(write.execution.id, None)
                self._spawn(self._careful(write.execution.id, write.pendings))
        else:
            for write in writes:
                try:
                    self._settled(write, withdrawn.get(write.execution.id))
                except Exception:
                    # What is committed stands; what was to follow from it here, the sweep finds. This loop must go on.
                    logger.exception("execution %d: what follows a commit went wrong", write.execution.id)
                    self._memory.pop(write.execution.id, None)
                self._release(write.execution.id)

    async def _apply(self, writes: list[Write], where: Database | Kept | Transaction) -> dict[int, dict[int, int]]:
        """Store writes, all or nothing; return how many commands of which runs were withdrawn."""
        if len(writes) == 1 and where is self._kept and (step := writes[0].step) is not None:
            await self._store(where, "apply_step", *step, self._lease)
            return {}
        begun, moved = [], []
        for write in sorted(writes, key=lambda write: write.execution.id):
            new, old = write.rows()
            if new is not None:
                begun.append(new)
            else:
                moved.append(old)
        # NULL for what there is none of: an empty array costs more than a row, here and in the database.
        given = (
            begun or None,
            moved or None,
            [row for write in writes for row in write.ended] or None,
            [tuple(row) for write in writes for row in write.issued.values()] or None,
            [row for write in writes if (row := write.history) is not None] or None,
            [row for write in writes for row in write.kept.values()] or None,
            [row for write in writes for row in write.looped.values()] or None,
            [row for write in writes for row in write.chunked] or None,
            [row for write in writes for row in write.paged] or None,
            [row for write in writes for row in write.amended.values()] or None,
            [write.execution.id for write in writes if write.revoke and write.begin is None],
            [write.execution.id for write in writes if write.withdraw and write.begin is None],
            [(write.execution.id, run) for write in writes for run in write.stopped],
            self._lease,
        )
        rows = await self._store(where, "apply", *given)
        withdrawn = {write.execution.id: write.unborn for write in writes if write.unborn}
        for row in rows:
            counts = withdrawn.setdefault(row["execution_id"], {})
            counts[row["run_id"]] = counts.get(row["run_id"], 0) + 1
        return withdrawn

    async def _store(self, where: Database | Kept | Transaction, name: str, *given: Any) -> list[Any]:
        try:
            rows = await where.rows(name, *given)
        except Unavailable as error:
            now = self._clock()
            since = self._refused[0] if self._refused is not None and now - self._refused[1] <= LATELY else now
            self._refused = (since, now, error.message)
            raise
        self._refused = None
        self.commits += 1
        return rows

    def _settled(self, write: Write, withdrawn: dict[int, int] | None) -> None:
        """A write is in the database: answer, ring, go on."""
        execution = write.execution
        execution.revision += 1
        status = execution.state.status
        self.inputs += len(write.pendings)
        for line in write.logs:
            logger.info("execution %d: %s", execution.id, line)
        for pending in write.pendings:
            if not pending.future.done():
                pending.future.set_result(RECORDED if isinstance(pending, Report) else status)
        for handout, _ in write.handed:
            handout.leased = True
            handout.settle()
        for pending in write.pendings:
            if isinstance(pending, Report) and pending.handout is not None:
                pending.handout.recorded()
        waiting = write.waiting
        if waiting:
            self._ring(waiting)
        if (pools := execution.plan.file_pools) and status not in TERMINAL:
            # Whatever has ended here may have been what another command had to wait for.
            self._ring((pool, execution.id, 0) for pool in pools)
        for delay, command in write.delayed:
            asyncio.get_running_loop().call_later(delay, self._ring, [command])
        if status in TERMINAL:
            self._memory.pop(execution.id, None)
        else:
            self._remember(execution)
        if write.withdraw:
            self.signal(execution.id, Withdrawn(self._clock(), execution.state.owed, withdrawn or {}))
        if execution.id in self._timers:
            self._timers.pop(execution.id).cancel()
        if write.wake is not None and status not in TERMINAL:
            self._wake_at(execution.id, write.wake)
        self._moved(execution, write.revoke or bool(write.stopped))

    def _wake_at(self, eid: int, at: float) -> None:
        delay = at - self._clock() if at else 0
        if delay <= 0:
            self.signal(eid, Wake(self._clock()))
        else:
            self._timers[eid] = asyncio.get_running_loop().call_later(delay, self._ring_wake, eid)

    def _ring_wake(self, eid: int) -> None:
        self._timers.pop(eid, None)
        self.signal(eid, Wake(self._clock()))

    def _remember(self, execution: Execution) -> None:
        self._memory[execution.id] = execution
        self._memory.move_to_end(execution.id)
        while len(self._memory) > REMEMBERED:
            oldest = next((eid for eid in self._memory if eid not in self._busy), None)
            if oldest is None:
                return
            del self._memory[oldest]

    def _release(self, eid: int) -> None:
        """Let the execution's next inputs in."""
        if self._inbox.get(eid):
            self._ready.append(eid)
            self._work.set()
        else:
            self._busy.discard(eid)

    async def _load(self, eid: int) -> Execution:
        execution = await self._loader.execution(eid)
        known = self._memory.get(eid)
        if execution.state.status not in TERMINAL and eid not in self._busy and (known is None or known.revision < execution.revision):
            self._remember(execution)
        return execution

    async def _careful(self, eid: int, pendings: list[Pending]) -> None:
        """Work inputs out with whatever has to be read, and commit them for this execution alone; tried anew when it has moved on."""
        waiting = list(pendings)
        since = self._clock()
        tries = 0
        while waiting:
            tries += 1
            try:
                waiting = await self._attempt(eid, waiting, alone=tries > 2)
                tries = 0
            except MovedOn as error:
                self._memory.pop(eid, None)
                if tries > TRIES:
                    _refuse(waiting, error)
                    break
                await asyncio.sleep(random.uniform(0, 0.01 * tries))  # noqa: S311 - not a secret
            except NotLeased:
                self._memory.pop(eid, None)
                if tries > TRIES:
                    _refuse(waiting, Unavailable("the database is too busy", "try again"))
                    break
            except Unavailable as error:
                self._memory.pop(eid, None)
                if self._clock() - since > PATIENCE:
                    _refuse(waiting, error)
                    break
                await asyncio.sleep(min(0.05 * 2**tries, 1.0))
            except Unstorable as error:
                self._memory.pop(eid, None)
                waiting = _unstorable(waiting, error) if len(waiting) == 1 or tries > 2 else waiting
                tries = max(tries, 2)
            except NoetlError as error:
                self._memory.pop(eid, None)
                _refuse(waiting, error)
                break
            except asyncio.CancelledError:
                _refuse(waiting, Unavailable("the server is stopping", "try again"))
                raise
            except Exception as error:
                logger.exception("execution %d: an input could not be worked out", eid)
                self._memory.pop(eid, None)
                _refuse(waiting, NoetlError(f"the server failed: {type(error).__name__}", "see: noetl server logs", code="internal"))
                break
        self._release(eid)

    async def _attempt(self, eid: int, pendings: list[Pending], *, alone: bool) -> list[Pending]:
        """Commit as many of the inputs as go together; return the rest."""
        first = pendings[0]
        if isinstance(first, Begin):
            execution = await self._begun(first)
            if execution is None:
                return pendings[1:]
        else:
            execution = self._memory.get(eid) or await self._loader.execution(eid)
        remembered = execution is self._memory.get(eid)
        if not remembered and execution.state.owed is not None and execution.state.status not in TERMINAL:
            # The answer to the commit that withdrew its commands was lost, or whoever got it died.
            pendings = [Signal(eid, await self._loader.withdrawn(execution, self._clock()), unheard()), *pendings]
        write = Write(execution, self._offer)
        done = 0
        try:
            for pending in pendings:
                if done and (alone or write.begin):
                    break
                outcome = await self._outcome(execution, pending, remembered)
                if outcome is not None:
                    write.add(pending, outcome, self._clock())
                done += 1
            if write.pendings:
                withdrawn = await self._apply([write], self._database)
                self._settled(write, withdrawn.get(eid))
        except BaseException:
            write.undo()
            raise
        return pendings[done:]

    async def _begun(self, begin: Begin) -> Execution | None:
        """Return a new execution to be started, or None if an earlier try has already stored it."""
        fresh = begin.execution
        try:
            await self._loader.execution(fresh.id)
        except NoetlError as error:
            if isinstance(error, Unavailable):
                raise
            begin.execution = anew(fresh)
            return begin.execution
        if not begin.future.done():
            begin.future.set_result("RUNNING")
        return None

    async def _outcome(self, execution: Execution, pending: Pending, remembered: bool) -> Outcome | None:
        """Return what follows from an input, or None where it is answered without a change.

        An input that has no place in a remembered execution may have one in the execution as it is: another server has moved it on.
        """
        if isinstance(pending, Report):
            answer = await self._standing(execution, pending)
            if answer is not None:
                _answer(pending, answer)
                return None
        if execution.state.status in TERMINAL:
            _answer(pending, STALE if isinstance(pending, Report) else execution.state.status)
            return None
        given = engine_input(execution, pending)
        plain = await self._loader.prepare(execution, given)
        known = execution.known(self._env)
        try:
            if plain:
                with contextlib.suppress(NotHere):
                    return advance(execution.plan, execution.state, given, known)
            narrow = replace(known, results=self._loader.used(execution, given))
            unread = self._loader.unread(execution, given)
            return await self._evaluator.advance(execution.catalog_id, execution.plan, execution.state, given, narrow, unread)
        except Exceeded as error:
            broken = broken_input(execution, pending, self._clock(), error.as_error())
            return advance(execution.plan, execution.state, broken, known)
        except IllegalInput as error:
            if remembered:
                raise MovedOn(error.message) from error
            _answer(pending, STALE if isinstance(pending, Report) else execution.state.status)
            return None

    async def _standing(self, execution: Execution, report: Report) -> str | None:
        """Return what a report that does not count is answered; None for one that may."""
        found = await self._loader.command(execution, report.command)
        if found is None:
            return STALE
        status, fence = found
        if status == "running" and fence == report.fence:
            return None
        execution.commands.pop(report.command, None)
        return DUPLICATE if status in ("done", "failed") and fence == report.fence else STALE


def unheard() -> asyncio.Future[str]:
    """Return a future that nobody has to look at."""
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return future


def _answer(pending: Pending, answer: str) -> None:
    if not pending.future.done():
        pending.future.set_result(answer)


def _refuse(pendings: list[Pending], error: NoetlError) -> None:
    for pending in pendings:
        if not pending.future.done():
            pending.future.set_exception(error)


def _unstorable(pendings: list[Pending], error: Unstorable) -> list[Pending]:
    """The first of the inputs cannot be stored: a result becomes its step's error, anything else is refused."""
    first = pendings[0]
    if isinstance(first, Report) and first.result is not None:
        first.result = None
        first.error = {**error.as_error("the result cannot be stored: "), "type": "result"}
        return pendings
    _refuse([first], error)
    return pendings[1:]
