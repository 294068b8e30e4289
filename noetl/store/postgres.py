"""The connection pool, and the named queries on it. Driver errors are translated here."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from importlib import resources
from typing import Any

import asyncpg

from noetl.deadline import Deadline
from noetl.errors import Conflict, NoetlError, Unavailable
from noetl.settings import Postgres

SETTINGS = {
    "search_path": "noetl",
    "application_name": "noetl",
    "idle_in_transaction_session_timeout": "5s",
    "lock_timeout": "10s",
    "statement_timeout": "60s",
    "jit": "off",
    # Every statement here finds its rows by an index. Plans are kept, and one that is made while a table is empty would read all of it.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
KEPT_SETTINGS = {**SETTINGS, "plan_cache_mode": "force_generic_plan"}
"""What is run all the time is planned once: planning takes longer than writing a few rows whose keys are known."""
PATIENCE = 60.0
"""Seconds that a query has."""
CONNECTION_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.QueryCanceledError,
    asyncpg.DeadlockDetectedError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    OSError,
    TimeoutError,
)


class MovedOn(Conflict):
    """An execution has moved on since it was read."""

    code = "moved_on"


class Outdated(Conflict):
    """A playbook has a newer version than the one that was taken for the newest."""

    code = "outdated"


class NotLeased(Conflict):
    """A command is no longer leased with the fence given."""

    code = "not_leased"


class Unstorable(NoetlError):
    """Data that PostgreSQL refuses."""

    code = "unstorable"
    http_status = 422


class Refused(NoetlError):
    """The database does not let this user in, or not into that database."""

    code = "database_refuses"
    http_status = 503


@cache
def queries() -> dict[str, str]:
    """Return the named statements of queries.sql."""
    text = (resources.files("noetl.store") / "queries.sql").read_text(encoding="utf-8")
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)[1:]
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Turn the driver's errors into ours."""
    try:
        yield
    except asyncpg.SerializationError as error:
        raise MovedOn(str(error)) from error
    except asyncpg.NoDataFoundError as error:
        raise Outdated(str(error)) from error
    except (asyncpg.ObjectNotInPrerequisiteStateError, asyncpg.LockNotAvailableError) as error:
        raise NotLeased(str(error)) from error
    except (asyncpg.DataError, asyncpg.ProgramLimitExceededError, UnicodeEncodeError) as error:
        raise Unstorable(f"the database refuses the data: {error}") from error
    except asyncpg.DiskFullError as error:
        room = "make room there (df -h says where it went): what waits to be stored then goes on by itself"
        raise Unavailable(f"the database at {where} has no room on its disk: {error.args[0]}", room) from error
    except CONNECTION_LOST as error:
        raise Unavailable(
            f"the database at {where} does not answer: {str(error) or type(error).__name__}",
            "noetl's own is started by: noetl up (its log: noetl logs --service postgres); another is where POSTGRES_HOST says",
        ) from error
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError, asyncpg.InsufficientPrivilegeError) as error:
        raise Refused(f"the database at {where} refuses: {error}", "see: POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB") from error
    except asyncpg.UndefinedTableError as error:
        raise Unavailable(f"the database at {where} has no noetl schema: {error}", "make it: noetl db init") from error


class Database:
    """A pool of connections whose search path is the schema noetl."""

    def __init__(self, postgres: Postgres, *, size: int = 8) -> None:
        self._postgres = postgres
        self._size = size
        self._pool: Any = None
        self.where = f"{postgres.host}:{postgres.port}/{postgres.database}"

    async def open(self) -> None:
        """Open the pool; raise Unavailable where the database does not answer."""
        with translated(self.where):
            self._pool = await asyncpg.create_pool(
                **connection(self._postgres), min_size=1, max_size=self._size, server_settings=SETTINGS, reset=_leave
            )

    async def close(self) -> None:
        """Close the pool, whatever is still running on it."""
        if self._pool is not None:
            try:
                await asyncio.wait_for(self._pool.close(), 2)
            except (TimeoutError, asyncpg.PostgresError, OSError):
                self._pool.terminate()

    async def rows(self, name: str, *args: Any) -> list[Any]:
        """Run a named query; return its rows."""
        with translated(self.where):
            return list(await self._pool.fetch(queries()[name], *args))

    async def row(self, name: str, *args: Any) -> Any | None:
        """Run a named query; return its first row, or None."""
        with translated(self.where):
            return await self._pool.fetchrow(queries()[name], *args)

    async def run(self, name: str, *args: Any) -> int:
        """Run a named statement; return how many rows it touched."""
        with translated(self.where):
            status = await self._pool.execute(queries()[name], *args)
        return int(status.rsplit(" ", 1)[-1]) if status[-1:].isdigit() else 0

    def kept(self) -> Kept:
        """Return a connection of its own for one who runs the same statements all the time, one after another."""
        return Kept(self._postgres, self.where)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Open a transaction on a connection of its own."""
        with translated(self.where):
            async with self._pool.acquire() as held, held.transaction():
                yield Transaction(held)


class Kept:
    """One connection with its prepared statements: going through the pool costs more than preparing what is run. Made when it is needed."""

    def __init__(self, postgres: Postgres, where: str) -> None:
        self._postgres = postgres
        self._where = where
        self._held: Any = None
        self._statements: dict[str, Any] = {}
        # The driver's own limit makes a timer for every query.
        self._limit = Deadline(self.close)

    async def rows(self, name: str, *args: Any) -> list[Any]:
        """Run a named query; return its rows. A connection that is lost is made anew for the next one."""
        with translated(self._where):
            self._limit.set(PATIENCE)
            try:
                if self._held is None or self._held.is_closed():
                    self._statements.clear()
                    self._held = await asyncpg.connect(
                        **{**connection(self._postgres), "command_timeout": None}, server_settings=KEPT_SETTINGS
                    )
                statement = self._statements.pop(name, None) or await self._held.prepare(queries()[name])
                rows = list(await statement.fetch(*args))
            finally:
                self._limit.lift()
            # Kept only when it worked: what a changed schema makes of it is prepared anew.
            self._statements[name] = statement
            return rows

    def close(self) -> None:
        """Let go of the connection; whoever waits for an answer is told that it is lost."""
        self._limit.close()
        if self._held is not None:
            self._held.terminate()


class Transaction:
    """Named queries inside one transaction."""

    def __init__(self, held: Any) -> None:
        self._held = held

    async def rows(self, name: str, *args: Any) -> list[Any]:
        """Run a named query; return its rows."""
        return list(await self._held.fetch(queries()[name], *args))

    async def row(self, name: str, *args: Any) -> Any | None:
        """Run a named query; return its first row, or None."""
        return await self._held.fetchrow(queries()[name], *args)


async def _leave(held: Any) -> None:
    """Leave a released connection as it is: no query here changes its session, and resetting costs a round trip each time."""


def connection(postgres: Postgres) -> dict[str, Any]:
    """Return the driver's arguments for a connection; of several places it takes the first one that answers."""
    places = [postgres.sockets, postgres.host] if postgres.sockets else [postgres.host]
    return {
        "host": places,
        "port": [postgres.port] * len(places),
        "database": postgres.database,
        "user": postgres.user,
        "password": postgres.password.reveal(),
        "timeout": 10,
        "command_timeout": PATIENCE,
    }
