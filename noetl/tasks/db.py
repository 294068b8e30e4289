"""The server's database."""

from __future__ import annotations

import sys

from invoke.context import Context

from noetl.tasks.verb import finish, note, read_settings, say, verb

_BY_HAND = "  change it back by hand, or delete everything and make it anew: noetl db reset"


@verb()
def init(_context: Context) -> None:
    """Make the schema, or bring it up to date.

    Exit code 1 if it differs afterwards from what it should be: what somebody changed by hand is not changed back.
    """
    from noetl.ops import db

    settings = read_settings()
    applied = db.init(settings, note)
    if applied:
        say(f"applied {', '.join(applied)}")
    if different := db.validate(settings, note):
        finish("\n".join([*different, _BY_HAND]), 1)
    if not applied:
        say("the schema is up to date")


@verb()
def validate(_context: Context) -> None:
    """Say what differs from the schema as it should be.

    Exit code 1 if anything does.
    """
    from noetl.ops import db

    if different := db.validate(read_settings(), note):
        finish("\n".join([*different, "  bring it up to date: noetl db init (what was changed by hand stays changed)"]), 1)
    say("the schema is as it should be")


@verb(help={"database": "the database's name, to confirm; needed where POSTGRES_HOST is set"})
def reset(_context: Context, database: str = "") -> None:
    """Delete everything and make the schema anew.

    All executions, results, credentials and playbooks are gone afterwards. Outside the embedded
    stack the database's name has to be given.
    """
    from noetl.ops import db

    settings = read_settings()
    if settings.postgres and not database and sys.stdin.isatty():
        sys.stderr.write(f"This deletes everything that noetl has on {settings.postgres.host}. The database's name, to confirm: ")
        sys.stderr.flush()
        database = sys.stdin.readline().strip()
    done = db.reset(settings, database, note)
    say(f"made anew: schema noetl of {done.database} on {done.host}:{done.port}")
