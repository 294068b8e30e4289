"""Does to the stack what the plan says."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable

import psutil

from chaos.plan import Fault
from chaos.platform import Part, Platform
from noetl.bus import subjects
from noetl.bus.jetstream import Bus
from noetl.errors import NoetlError
from noetl.home import read_embedded


class Faults:
    """Performs faults in their time; `timeline` tells what was done. A target that is broken already is left alone."""

    def __init__(self, platform: Platform, plan: list[Fault], cancel: Callable[[int], list[str]], say: Callable[[str], None]) -> None:
        self._platform = platform
        self._plan = plan
        self._cancel = cancel
        self._say = say
        self._begun = time.monotonic()
        self.timeline: list[str] = []

    async def run(self) -> None:
        """Perform the whole plan, and return when nothing is broken any more."""
        self._begun = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for fault in self._plan:
                await asyncio.sleep(max(0.0, self._begun + fault.at - time.monotonic()))
                group.create_task(self._perform(fault))

    async def _perform(self, fault: Fault) -> None:
        verb, _, what = fault.kind.partition(" ")
        match verb:
            case "kill" if what in ("nats", "postgres"):
                await self._kill_service(what, fault)
            case "delete":
                await self._delete_stream()
            case "cancel":
                cancelled = await asyncio.to_thread(self._cancel, fault.target)
                self._tell(f"cancel {len(cancelled)} executions")
            case _:
                parts = self._platform.servers if what == "server" else self._platform.workers
                part = parts[fault.target % len(parts)]
                if part.down or part.stopped or not part.alive:
                    self._tell(f"{fault.kind}: {part.name} is broken already")
                elif verb == "stop":
                    await self._stop(part, fault)
                else:
                    await self._kill(part, fault, signal.SIGKILL if verb == "kill" else signal.SIGTERM)

    async def _kill(self, part: Part, fault: Fault, number: signal.Signals) -> None:
        assert part.process is not None
        part.down = True
        part.process.send_signal(number)
        self._tell(f"{fault.kind}: {part.name}, again after {fault.seconds:g} s")
        if number == signal.SIGTERM:
            await asyncio.to_thread(part.process.wait)
        await asyncio.sleep(fault.seconds)
        part.down = False

    async def _stop(self, part: Part, fault: Fault) -> None:
        assert part.process is not None
        pid = part.process.pid
        if fault.kind == "stop zygote":
            with contextlib.suppress(psutil.Error, IndexError):
                pid = psutil.Process(pid).children()[0].pid
        part.stopped = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
        self._tell(f"{fault.kind}: {part.name} for {fault.seconds:g} s")
        await asyncio.sleep(fault.seconds)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        part.stopped = False

    async def _kill_service(self, name: str, fault: Fault) -> None:
        pid = None if name in self._platform.services_down else self._platform.service(name)
        if pid is None:
            self._tell(f"kill {name}: it is broken already")
            return
        self._platform.services_down.add(name)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self._tell(f"kill {name}, again after {fault.seconds:g} s")
        await asyncio.sleep(fault.seconds)
        await self._platform.restore(name)

    async def _delete_stream(self) -> None:
        url = read_embedded(self._platform.home).nats_url
        assert url is not None
        bus = Bus(url, "noetl-chaos")
        try:
            await bus.open(wait=2)
            await bus.delete_stream()
            self._tell(f"delete the stream {subjects.STREAM}")
        except NoetlError:
            self._tell("delete the stream: NATS is broken already")
        finally:
            await bus.close()

    def _tell(self, text: str) -> None:
        line = f"{time.monotonic() - self._begun:6.1f} s  {text}"
        self.timeline.append(line)
        self._say(line)
