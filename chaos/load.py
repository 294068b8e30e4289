"""Begins executions all the while, and cancels some."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable

from chaos.platform import Platform, connected
from chaos.stories import STORIES, Story
from noetl.errors import NoetlError

AT_ONCE = 30
"""How many executions may run before no more are begun."""
BEGINNERS = 4
PACE = 0.4
"""Seconds between two beginnings of each of them."""


class Load:
    """`accepted` are the executions that a server has answered for; `cancelled` those that somebody asked to cancel."""

    def __init__(self, platform: Platform, ledger: str, pages: str, seed: int, say: Callable[[str], None]) -> None:
        self._platform = platform
        self._workload = {"ledger": ledger, "pages": pages}
        self._dice = random.Random(seed + 1)
        self._say = say
        self.accepted: dict[str, Story] = {}
        self.cancelled: set[str] = set()

    async def prepare(self) -> None:
        """Register the playbooks, the credential and the table of the sinks."""
        client, outside = self._platform.client(0), self._platform.outside
        for story in STORIES:
            await asyncio.to_thread(client.post, "/api/catalog/register", {"content": story.text})
        data = {"db_host": outside.host, "db_port": outside.port, "db_user": outside.user, "db_name": outside.database}
        credential = {"name": "outside", "type": "postgres", "data": {**data, "db_password": outside.password.reveal()}}
        await asyncio.to_thread(client.post, "/api/credentials", credential)
        async with connected(outside) as held:
            await held.execute("CREATE TABLE public.written (eid text NOT NULL, n integer NOT NULL)")

    async def run(self) -> None:
        """Begin executions until cancelled, as long as not too many run; at several servers at once, since some do not answer."""
        async with asyncio.TaskGroup() as group:
            for number in range(BEGINNERS):
                group.create_task(self._keep_beginning(number))

    async def _keep_beginning(self, number: int) -> None:
        while True:
            await self._while_full()
            number += 1
            story = self._dice.choices(STORIES, [one.weight for one in STORIES])[0]
            await self._begin(story, number)
            await asyncio.sleep(PACE)

    def cancel(self, target: int) -> list[str]:
        """Ask for the end of some of the executions that were begun last."""
        chosen = list(self.accepted)[-3 - target :]
        asked = []
        for number, execution in enumerate(chosen[:3]):
            self.cancelled.add(execution)
            with contextlib.suppress(NoetlError):
                self._platform.client(number).post(f"/api/executions/{execution}/cancel")
                asked.append(execution)
        return asked

    async def _begin(self, story: Story, number: int) -> None:
        with contextlib.suppress(NoetlError):
            answer = await asyncio.to_thread(
                self._platform.client(number, 5).post, "/api/execute", {"path": story.path, "payload": self._workload}
            )
            self.accepted[str(answer["execution_id"])] = story

    async def _while_full(self) -> None:
        while True:
            with contextlib.suppress(Exception):
                async with connected(self._platform.database) as held:
                    if await held.fetchval("SELECT count(*) FROM noetl.execution WHERE end_time IS NULL") < AT_ONCE:
                        return
            await asyncio.sleep(0.3)
