"""What a step's error says of what to type or to change next."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from noetl.errors import MOST_HINT
from noetl.tools.base import TOO_LONG

Json = Any
REPORTED = [
    ({"status": "error", "error": {"message": "no stock", "hint": "order more"}}, "order more"),
    ({"status": "error", "message": "no stock", "hint": "order more"}, "order more"),
    ({"status": "error", "error": {"message": "no stock"}, "hint": "order more"}, "order more"),
    ({"status": "error", "error": "no stock", "hint": ["order", "more"]}, None),
    ({"status": "error", "error": "no stock"}, None),
]


@pytest.mark.parametrize(("result", "hint"), REPORTED)
async def test_a_result_that_reports_a_failure_may_say_what_to_do(bench: Any, result: Json, hint: str | None) -> None:
    outcome = await bench.python(f"result = {result!r}")
    assert (outcome.error["type"], outcome.error["message"], outcome.error.get("hint")) == ("reported", "no stock", hint)


async def test_a_hint_is_masked_and_bounded(bench: Any) -> None:
    bench.credentials["api"] = {"token": "canary-7f3a9e-Secret"}
    code = "result = {'status': 'error', 'message': 'no', 'hint': 'use ' + %s}"
    args = {"token": "{{ token('api') }}"}
    outcome = await bench.python(code % "token + '!'", args=args)
    assert outcome.error["hint"] == "use ***!"
    cut = await bench.python(code % f"'x' * {MOST_HINT - 15} + token", args=args)
    assert cut.error["hint"] == f"use {'x' * (MOST_HINT - 15)}***..."


@pytest.mark.parametrize(
    ("template", "hint"),
    [
        ("{{ nowhere + 1 }}", "Check the spelling, or give it a value with `| default(...)`"),
        ("{{ 1 + 'a' }}", "Check the types of its values: `| int`, `| float` and `| string` convert, `a ~ b` joins texts"),
        ("{{ 1 + }}", "Correct the template; text that is none goes between {% raw %} and {% endraw %}"),
    ],
)
async def test_a_template_that_fails_says_what_to_do(bench: Any, template: str, hint: str) -> None:
    outcome = await bench.python("result = 1", args={"x": template})
    assert (outcome.error["type"], outcome.error["hint"]) == ("template", hint)


async def test_a_template_that_fails_says_of_which_field_it_is(bench: Any) -> None:
    broken = "'nowhere' is undefined"
    url = await bench.run("http", {"url": "http://127.0.0.1:1/{{ nowhere + 1 }}"})
    assert url.error["message"] == f"`url`: template `http://127.0.0.1:1/{{{{ nowhere + 1 }}}}`: {broken}"
    query = await bench.run("duckdb", {"query": "SELECT 1\nWHERE a = {{ nowhere + 1 }}", "database": ":memory:"})
    assert query.error["message"] == f"`query`: line 2 of a template, `WHERE a = {{{{ nowhere + 1 }}}}`: {broken}"
    arg = await bench.python("result = 1", args={"x": {"y": "{{ nowhere + 1 }}"}})
    assert arg.error["message"] == f"`args.x`: template `{{{{ nowhere + 1 }}}}`: {broken}"


async def test_a_missing_argument_and_an_entry_of_the_keychain_keep_their_hints(bench: Any) -> None:
    missing = await bench.python("def main(first, second): return first")
    assert (missing.error["type"], missing.error["hint"]) == ("missing_argument", "Add it to the step's args: first: …")
    entry = {"name": "key", "kind": "static", "config": {"map": {"a": "{{ nowhere + 1 }}"}}}
    broken = await bench.python("result = x", args={"x": "{{ keychain.key.a }}"}, keychain=(entry,))
    assert broken.error["message"].startswith("keychain entry key: ")
    assert broken.error["hint"].startswith("Check the spelling")


SCRIPT = """\
-- made for this test
CREATE TEMPORARY TABLE people (name TEXT UNIQUE, age INT NOT NULL);

INSERT INTO people
VALUES ('Ada', 36);
"""
SQL = [
    ("SELEKT 1", "(in: SELEKT 1)", "correct the statement there"),
    (f"{SCRIPT}SELECT name\nFROM people\nWHER age = 3", "(in line 8: WHER age = 3)", "correct the statement there"),
    (f"{SCRIPT}SELECT nme\nFROM people", "(in line 6: SELECT nme)", 'Perhaps you meant to reference the column "people.name".'),
    (f'{SCRIPT}SELECT name FROM people WHERE name = "Ada"', '(in line 6: SELECT name FROM people WHERE name = "Ada")', "single quotes"),
    ("SELECT * FROM nowhere", "(in: SELECT * FROM nowhere)", "create the table in a step before"),
    ("SELECT 'abc'::int", "(in: SELECT 'abc'::int)", "correct or convert the value"),
    (f"{SCRIPT}INSERT INTO people VALUES ('Ada', 3)", "(Key (name)=(Ada) already exists.) (in:", "ON CONFLICT"),
    (f"{SCRIPT}INSERT INTO people VALUES ('Bo', NULL)", "null value in column", "give the column a value"),
    ("SELECT 1 + 'a'::text", "(in: SELECT 1 + 'a'::text)", "add explicit type casts"),
]


@pytest.mark.parametrize(("statements", "where", "hint"), SQL)
async def test_bad_sql_says_where_and_what_to_do(database: Any, statements: str, where: str, hint: str) -> None:
    outcome = await database.run("postgres", {"auth": "pg", "query": statements})
    assert where in outcome.error["message"]
    assert hint in outcome.error["hint"]
    assert outcome.error["sqlstate"]


async def test_a_sink_says_in_which_line_it_fails_though_values_stand_in_for_names(database: Any) -> None:
    sink = {"data": "{{ result }}", "has_data": True}
    query = "SELECT 1;\nSELECT :name::text, :age::int,\n  nowhere"
    for name, where in (("Ada", "(in line 3: nowhere)"), ("A\nda" * 40, "(in: SELECT :name::text, :age::int, nowhere)")):
        scope = {"result": {"name": name, "age": 1}}
        outcome = await database.run("postgres", {"auth": "pg", "query": query}, sink=sink, scope=scope)
        assert where in outcome.error["message"]


async def test_a_connection_that_there_is_not_says_what_to_see(database: Any) -> None:
    way = {"db_host": "127.0.0.1", "db_port": 1, "db_user": "x", "db_name": "y", "query": "SELECT 1"}
    refused = await database.run("postgres", way)
    assert refused.error["message"].startswith("no connection to PostgreSQL at 127.0.0.1:1/y: ")
    told = "see on the worker's machine: pg_isready -h 127.0.0.1 -p 1; else correct host and port; 127.0.0.1 is that machine itself"
    assert (refused.error["type"], refused.error["hint"]) == ("connection", told)
    unknown = await database.run("postgres", {**way, "db_host": "nowhere.invalid"})
    assert "correct the name of the host" in unknown.error["hint"]
    no_database = await database.run("postgres", {"auth": "pg", "db_name": "nowhere", "query": "SELECT 1"})
    assert no_database.error["hint"].startswith("create the database, or correct its name")
    no_user = await database.run("postgres", {"auth": "pg", "db_user": "nobody", "query": "SELECT 1"})
    assert no_user.error["hint"].startswith("correct user and password: noetl credential set NAME")


async def test_a_statement_that_takes_too_long_says_what_to_raise(database: Any) -> None:
    outcome = await database.run("postgres", {"auth": "pg", "query": "SELECT pg_sleep(60)"}, timeout=0.1)
    assert (outcome.error["type"], outcome.error["hint"]) == ("timeout", TOO_LONG)


PASSES = "it may pass: `retry: {max_attempts: 3, on: [connection, http_5xx, rate_limit]}` beside the step's tool"
STATUSES = [
    (401, "give `auth` a credential"),
    (404, "correct the url: nothing is there"),
    (405, "correct `method`"),
    (422, "the answer says what it does not take"),
    (429, PASSES),
    (503, PASSES),
    (501, "correct `method` or the url"),
]


@pytest.mark.parametrize(("status", "hint"), STATUSES)
async def test_a_status_of_http_says_what_to_do(bench: Any, http_server: str, status: int, hint: str) -> None:
    outcome = await bench.run("http", {"url": f"{http_server}/status/{status}"})
    assert (outcome.error["status"], outcome.error["hint"][: len(hint)]) == (status, hint)


async def test_a_server_that_does_not_answer_says_what_to_see(bench: Any, http_server: str) -> None:
    refused = await bench.run("http", {"url": "http://127.0.0.1:1/a?key=value"})
    told = "see on the worker's machine: curl -v http://127.0.0.1:1/a; else correct the url; 127.0.0.1 is that machine itself"
    assert refused.error["hint"] == told
    unknown = await bench.run("http", {"url": "http://nowhere.invalid/"})
    assert unknown.error["hint"] == "correct the host in the url: the worker's machine does not know its name"
    slow = await bench.run("http", {"url": f"{http_server}/slow", "timeout": 0.1})
    assert (slow.error["type"], slow.error["hint"].startswith("raise `timeout` of the tool")) == ("timeout", True)


COMMANDS = [
    ("nosuchprogram --help", "install it on the worker's machine, or write its whole path; the PATH there is /"),
    ("touch x; ./x", "let it be executable: chmod +x FILE"),
    ("cat nowhere.json", "write whole paths: without `cwd`, commands run in a new, empty folder"),
    ("kill -9 $$", "it was killed, perhaps because the machine ran out of memory"),
    ("exit 3", None),
]


@pytest.mark.parametrize(("command", "hint"), COMMANDS)
async def test_a_command_that_fails_says_what_to_do(bench: Any, command: str, hint: str | None) -> None:
    outcome = await bench.run("shell", {"cmds": command})
    assert outcome.error["type"] == "exit_code"
    assert outcome.error.get("hint", "").startswith(hint) if hint else "hint" not in outcome.error


async def test_a_file_that_is_not_there_says_where_it_was_looked_for(bench: Any) -> None:
    script = {"uri": "./nowhere.py", "source": {"type": "file"}}
    outcome = await bench.run("python", {"script": script})
    assert outcome.error["hint"].startswith("put it there, on the worker's machine, or correct `uri`: a relative path is below /")
    table = await bench.run("duckdb", {"query": "SELECT * FROM read_csv('nowhere.csv')", "database": ":memory:"})
    assert table.error["hint"].startswith("files are read and written on the worker's machine: write whole paths")


CODE = [
    ("import jsn", "did you mean json?"),
    ("import no_module_at_all.inner", f"install the package that has it where the worker runs: {sys.executable} -m pip install PACKAGE"),
    ("def main(city):\n    return citty", "did you mean city?"),
    (
        "def main(city):\n    def inner():\n        return undefined_thing\n    return inner()",
        "define it in the code, or pass it in the step's `args`",
    ),
    ("def main(city):\n    if not city:\n        found = 1\n    return found", "give it a value on every way that leads there"),
    ("result = {'rows': []}.rows", "the values of a mapping are read with ['rows']"),
    ("result = 'a'.uper()", "did you mean upper?"),
    ("result = {}['city']", "read it with .get(KEY), or see what the step before has returned: noetl execution get ID"),
    ("result = open('nowhere.csv')", "write the whole path: code runs on the worker's machine, and a relative path is below /"),
    ("def main(nothing):\n    return nothing['a']", "a value is None: what a template names that is not there is null"),
    ("def main(city):\n    return 1 + city", "convert the values first: int(...), float(...), str(...)"),
    ("def main(city):\n    return city + 1", "convert the values first: int(...), float(...), str(...)"),
    ("raise ValueError('no')", ""),
    ("class Odd(TypeError):\n    def __str__(self): raise KeyError\nraise Odd", ""),
    ("result = int.nothing_like_it", ""),
]


@pytest.mark.parametrize(("code", "hint"), CODE)
async def test_code_that_raises_says_what_to_do(bench: Any, code: str, hint: str) -> None:
    outcome = await bench.python(code, args={"city": "Berlin", "nothing": "{{ workload.citty }}"}, scope={"workload": {}})
    assert outcome.error["traceback"]
    assert outcome.error["hint"].startswith(hint) if hint else "hint" not in outcome.error


async def test_a_library_that_is_not_there_says_what_to_install(bench: Any) -> None:
    outcome = await bench.run("python", {"libs": {"x": "no_module_at_all"}, "code": "result = 1"})
    assert (outcome.error["type"], "pip install" in outcome.error["hint"]) == ("ModuleNotFoundError", True)
