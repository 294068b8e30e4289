"""The schema on a real database: made once, compared in words, made anew."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from live import ask

from noetl.errors import Unavailable
from noetl.settings import Postgres, Secret
from noetl.store import migrate
from noetl.store.postgres import Refused


async def test_an_empty_database_gets_every_migration_once(empty_postgres: Postgres) -> None:
    assert await migrate.initialize(empty_postgres) == list(migrate.migrations())
    assert await migrate.initialize(empty_postgres) == []
    assert await migrate.validate(empty_postgres) == []


async def test_many_at_once_make_one_schema(empty_postgres: Postgres) -> None:
    applied = await asyncio.gather(*(migrate.initialize(empty_postgres) for _ in range(4)))
    assert sorted(map(len, applied)) == [0, 0, 0, len(migrate.migrations())]


async def test_a_database_without_schema_says_so(empty_postgres: Postgres) -> None:
    assert await migrate.validate(empty_postgres) == ["schema noetl is missing"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ("ALTER TABLE noetl.execution ADD COLUMN surplus integer", "column execution.surplus is there and should not be"),
        ("ALTER TABLE noetl.command DROP COLUMN lost", "column command.lost is missing"),
        (
            "ALTER TABLE noetl.command ALTER COLUMN attempt TYPE bigint",
            "column command.attempt is 'bigint not null' instead of 'integer not null'",
        ),
        (
            "ALTER TABLE noetl.command ALTER COLUMN status TYPE text",
            "column command.status is 'text not null' instead of 'command_status not null'",
        ),
        ("DROP INDEX noetl.command_waiting", "index command_waiting is missing"),
        ("DROP TRIGGER execution_is_final ON noetl.execution", "trigger execution_is_final is missing"),
        ("ALTER TABLE noetl.loop DROP CONSTRAINT loop_check", "constraint loop_check is missing"),
        (
            "CREATE OR REPLACE FUNCTION noetl.execution_is_final() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
            "function",
        ),
        ("DROP TABLE noetl.credential", "column credential.data is missing"),
    ],
)
def test_a_difference_is_named(postgres: Postgres, change: str, word: str) -> None:
    ask(postgres, change)
    differences = asyncio.run(migrate.validate(postgres))
    assert any(word in difference for difference in differences), differences
    assert ask(postgres, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'noetl_%'") == []


def test_a_newer_database_is_left_alone(postgres: Postgres) -> None:
    ask(postgres, "INSERT INTO noetl.migrations (name, checksum) VALUES ('9999_later', 'x')")
    with pytest.raises(migrate.UnknownMigration, match="9999_later"):
        asyncio.run(migrate.initialize(postgres))


def test_a_migration_of_the_same_name_with_another_text_is_said(postgres: Postgres) -> None:
    ask(postgres, "UPDATE noetl.migrations SET checksum = 'x'")
    with pytest.raises(migrate.ChangedMigration, match="was made by another 0001"):
        asyncio.run(migrate.initialize(postgres))
    assert asyncio.run(migrate.reset(postgres)) == list(migrate.migrations())


def test_reset_makes_it_anew(postgres: Postgres) -> None:
    ask(postgres, "INSERT INTO noetl.property (name, value) VALUES ('a', 'b')")
    assert asyncio.run(migrate.reset(postgres)) == list(migrate.migrations())
    assert ask(postgres, "SELECT * FROM noetl.property") == []
    assert asyncio.run(migrate.validate(postgres)) == []


async def test_no_database_there_is_said() -> None:
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
        await migrate.initialize(Postgres("127.0.0.1", 1, "x", "x", Secret("x")))


@pytest.mark.parametrize("wrong", [{"user": "nobody"}, {"password": Secret("wrong"), "user": "playbooks"}, {"database": "nowhere"}])
async def test_a_database_that_lets_nobody_in_says_so(empty_postgres: Postgres, wrong: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="refuses: "):
        await migrate.initialize(replace(empty_postgres, **wrong))
