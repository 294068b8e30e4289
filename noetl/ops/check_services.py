"""What `doctor` looks at in the services: database, schema, clock, NATS, the server, its workers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import noetl
from noetl import home as files
from noetl.bus.jetstream import Bus
from noetl.errors import NoetlError, Unauthorized
from noetl.ops import nats as embedded_nats
from noetl.ops import postgres as embedded_postgres
from noetl.ops import process
from noetl.ops import server as servers
from noetl.ops import worker as workers
from noetl.ops.client import Client, server_url
from noetl.ops.finding import BAD, NOTE, OK, WARN, Finding
from noetl.settings import Secret, Settings
from noetl.store.examine import Examined, examine

_WITHIN = 4.0
_CLOCK_OFF = 1.0
_CLOCK_WRONG = 10.0
_ELSEWHERE = "is the server's affair: it runs elsewhere"
_NOT_STARTED = "the embedded one, which does not run"
_START = "start it: noetl up"


def database(settings: Settings) -> list[Finding]:
    """Look at the database: whether it answers and how fast, its schema, its clock."""
    there = settings.postgres or files.read_embedded(settings.home).postgres
    if not settings.postgres and (there is None or embedded_postgres.find(settings.home) is None):
        return [_not_here("database", settings)]
    assert there is not None
    where = f"{there.host}:{there.port}/{there.database}"
    try:
        found = asyncio.run(examine(there, _WITHIN))
    except NoetlError as error:
        hint = "see: POSTGRES_HOST and POSTGRES_PORT, and whether it runs" if settings.postgres else error.hint
        return [Finding("database", BAD, error.message, error.hint if error.code == "database_refuses" else hint)]
    return [Finding("database", OK, f"PostgreSQL {found.version} at {where}", ms=found.ms), _schema(found), _clock(found)]


def nats(settings: Settings) -> list[Finding]:
    """Look at NATS: whether it answers with JetStream, and how fast."""
    url = settings.nats_url or files.read_embedded(settings.home).nats_url
    if not settings.nats_url and (url is None or embedded_nats.find(settings.home) is None):
        return [_not_here("nats", settings)]
    assert url is not None
    try:
        version, taken = asyncio.run(_ask_nats(url))
    except NoetlError as error:
        return [Finding("nats", BAD, error.message, error.hint)]
    return [Finding("nats", OK, f"nats-server {version} with JetStream", ms=taken)]


def server(settings: Settings) -> list[Finding]:
    """Look at the server that the settings mean, and at its workers."""
    here = None if settings.server_url else servers.meant(settings)
    url = (here.url if here else None) or server_url(settings)
    token = _token(settings)
    client = Client(url, token or Secret(""), timeout=_WITHIN)
    started = time.perf_counter()
    if not client.answers("/health"):
        if here is None and not settings.server_url:
            return [Finding("server", NOTE, f"none runs at {url}", _START)]
        if here is not None and process.is_suspended(here):
            return [Finding("server", BAD, f"the server at {url} is suspended", f"let it go on: {process.going_on(here)}")]
        return [Finding("server", BAD, f"no server answers at {url}", "see: noetl server status, noetl server logs")]
    taken = round((time.perf_counter() - started) * 1000, 2)
    try:
        version = str(client.get("/health").get("version"))
        found = [_version(version, url, taken)]
        if not client.answers("/ready"):
            found.append(Finding("ready", BAD, "the server cannot work: its database or schema is not there", "see: noetl server logs"))
        return found + _workers(client.get("/api/workers")["workers"], settings)
    except Unauthorized as error:
        return [*found, Finding("token", BAD, error.message, error.hint)]
    except NoetlError as error:
        return [*found, Finding("workers", BAD, error.message, error.hint)]
    except (AttributeError, KeyError, ValueError):
        return [Finding("server", BAD, f"what answers at {url} is no noetl server", "set NOETL_SERVER_URL, or NOETL_PORT")]


def _not_here(name: str, settings: Settings) -> Finding:
    if settings.server_url:
        return Finding(name, NOTE, _ELSEWHERE)
    # A server that runs without its database is not one that nobody has started yet.
    return Finding(name, BAD if servers.running(settings.home) else NOTE, _NOT_STARTED, _START)


def _schema(found: Examined) -> Finding:
    if not found.made:
        return Finding("schema", WARN, "there is none yet", "make it: noetl db init")
    if found.unknown:
        return Finding("schema", BAD, f"made by a newer noetl ({', '.join(found.unknown)})", "install that: pip install -U noetl")
    if found.changed:
        hint = "install the noetl that made it; or delete everything and make it anew: noetl db reset"
        return Finding("schema", BAD, f"made by another version ({', '.join(found.changed)})", hint)
    if found.missing:
        return Finding("schema", BAD, f"behind by {', '.join(found.missing)}", "bring it up to date: noetl db init")
    return Finding("schema", OK, f"up to date ({found.last})")


def _clock(found: Examined) -> Finding:
    off = abs(found.ahead)
    if off < _CLOCK_OFF:
        return Finding("clock", OK, f"within {max(off, 0.001):.3f} s of PostgreSQL's")
    side = "behind" if found.ahead > 0 else "ahead of"
    state = BAD if off >= _CLOCK_WRONG else WARN
    return Finding(
        "clock", state, f"{off:.1f} s {side} PostgreSQL's", "set it: timedatectl set-ntp true, here and on the database's machine"
    )


async def _ask_nats(url: Secret) -> tuple[str, float]:
    bus = Bus(url, "noetl-doctor")
    await bus.open(wait=_WITHIN)
    try:
        return await bus.examine()
    finally:
        await bus.close()


def _version(version: str, url: str, taken: float) -> Finding:
    if version != noetl.__version__:
        return Finding("server", WARN, f"{version} at {url}, but this noetl is {noetl.__version__}", "noetl server restart", taken)
    return Finding("server", OK, f"{version} at {url}", ms=taken)


def _workers(known: Sequence[dict[str, Any]], settings: Settings) -> list[Finding]:
    ready = [one for one in known if one.get("status") == "ready"]
    heard = {one.get("pid") for one in known if workers.is_here(one) and one.get("status") != "gone"}
    if lost := [entry for entry in workers.running(settings.home) if entry.pid not in heard]:
        names = [workers.name_of(entry) for entry in lost]
        suspended = [f"let it go on: {process.going_on(entry)}" for entry in lost if process.is_suspended(entry)]
        look = suspended[0] if suspended else f"see: noetl worker logs --name {names[0]}"
        hint = f"{look}; start it anew: noetl worker roll --force --timeout 10"
        return [Finding("workers", BAD, f"the server does not hear {', '.join(names)}", hint)]
    if not ready:
        return [Finding("workers", NOTE, "none is ready", "start one: noetl worker start")]
    if other := [f"{one['name']} ({one.get('version')})" for one in ready if one.get("version") != noetl.__version__]:
        return [Finding("workers", WARN, f"of another version: {', '.join(other)}", "replace them: noetl worker roll")]
    slots = sum(int(one.get("slots") or 0) for one in ready)
    return [Finding("workers", OK, f"{len(ready)} ready, {slots} slots")]


def _token(settings: Settings) -> Secret | None:
    """Return the token that is there; none is made by looking."""
    if settings.api_token:
        return settings.api_token
    try:
        return Secret((settings.home / "token").read_text().strip())
    except OSError:
        return None
