"""Every verb and flag has help, the reference is not stale, and the words of the `noetl` command are those of `inv`."""

from __future__ import annotations

import errno
import inspect
import os
import sys
from pathlib import Path

import pytest
from invoke.exceptions import Exit

from noetl import cli, program
from noetl.errors import PlaybookError, UsageError
from noetl.ops import answers
from noetl.tasks import ns, verbs
from noetl.tasks.verb import Verb, describe, verb

ROOT = Path(__file__).parents[3]
ALL = list(verbs.verbs(ns))
NOUNS = {str(name): [str(one) for one in noun.task_names] for name, noun in ns.collections.items()}


def test_the_verbs_are_there() -> None:
    names = {name for name, _ in ALL}
    assert names >= {"doctor", "service.install"}
    assert names >= {"up", "down", "ps", "logs", "demo", "run", "test", "lint", "bench", "chaos"}
    assert names >= {f"server.{one}" for one in ("start", "stop", "restart", "status", "logs")}
    assert names >= {f"worker.{one}" for one in ("start", "stop", "restart", "roll", "list", "logs")}
    assert names >= {f"host.{one}" for one in ("install", "rollback", "list", "bundle")}
    assert names >= {f"db.{one}" for one in ("init", "validate", "reset")}
    deploys = ("target", "diff", "deploy", "redeploy", "rollback", "remove", "reset", "status", "history", "logs", "forward")
    assert names >= {f"k8s.{one}" for one in deploys}
    assert names >= {f"catalog.{one}" for one in ("register", "list", "get", "validate")}
    assert names >= {
        f"execution.{one}" for one in ("list", "get", "status", "cancel", "pause", "resume", "retry", "why", "events", "follow", "prune")
    }


@pytest.mark.parametrize(("name", "task"), ALL, ids=[name for name, _ in ALL])
def test_every_verb_and_flag_has_help(name: str, task: Verb) -> None:
    assert isinstance(task, Verb)
    assert task.__doc__
    summary = task.__doc__.strip().splitlines()[0]
    assert len(summary) <= 57, "longer than a line of --list"
    assert summary.endswith(".")
    assert [typed for typed, help in verbs.flags(task) if not help] == []


def test_the_reference_is_what_the_help_says() -> None:
    assert (ROOT / "docs" / "verbs.md").read_text() == verbs.reference(ns), "stale: python -m noetl.tasks.verbs > docs/verbs.md"


def test_the_fast_verbs_are_verbs_with_the_same_flags() -> None:
    found = dict(ALL)
    for name, function in cli.FAST.items():
        assert [typed for typed, _ in verbs.flags(found[name])] == ["--json"]
        assert list(inspect.signature(getattr(answers, function)).parameters) == ["settings", "json_"]


@pytest.mark.parametrize(
    ("words", "joined"),
    [
        ("server start --init-db", "server.start --init-db"),
        ("server.start --init-db", "server.start --init-db"),
        ("-e server start", "-e server.start"),
        ("run server start", "run server start"),
        ("server", "--list server"),
        ("server --help", "--list server"),
        ("server fly", "server fly"),
        ("execution follow 7", "execution.follow 7"),
        ("execution retry --help", "--help execution.retry"),
        ("execution.retry -h", "--help execution.retry"),
        ("run --help", "--help run"),
        ("run server --help", "run server --help"),
        ("", ""),
    ],
)
def test_words_are_joined(words: str, joined: str) -> None:
    assert program.join(words.split(), NOUNS) == joined.split()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("server fly", "server has no verb 'fly'"),
        ("server.fly --json", "server has no verb 'fly'"),
        ("worker start --count 1", ""),
        ("server", ""),
        ("server --help", ""),
        ("run server fly", ""),
        ("fly away", ""),
        ("", ""),
    ],
)
def test_a_verb_that_a_noun_does_not_have(words: str, said: str) -> None:
    problem = program.unknown_verb(words.split(), NOUNS)
    assert (said in problem) if said else problem == ""


@pytest.mark.parametrize("words", [["down", "--timeout", "soon"], ["up", "--workers", "two"], ["server", "fly"], ["fly"]])
def test_words_that_are_not_understood_are_bad_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    assert caught.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_ctrl_c_before_a_verb_runs_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_words: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_fast", interrupted)
    with pytest.raises(SystemExit) as caught:
        cli.main(["ps"])
    assert caught.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_an_error_becomes_an_exit_code() -> None:
    @verb()
    def broken(_context: object) -> None:
        raise UsageError("no", "do this")

    @verb()
    def interrupted(_context: object) -> None:
        raise KeyboardInterrupt

    @verb()
    def full(_context: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/home/x")

    from invoke.context import Context

    with pytest.raises(Exit) as caught:
        broken(Context())
    assert caught.value.code == 2
    assert caught.value.message == "error: no\n  do this"
    with pytest.raises(Exit) as caught:
        full(Context())
    assert caught.value.code == 1
    assert str(caught.value.message).startswith("error: /home/x: No space left on device\n")
    with pytest.raises(Exit) as caught:
        interrupted(Context())
    assert caught.value.code == 130


def test_every_problem_of_a_playbook_is_said() -> None:
    problems = [{"line": 1, "column": 2, "message": "first"}, {"line": 3, "column": 4, "message": "second", "hint": "so"}]
    said = describe(PlaybookError("p.yaml:1:2: first", "try", details={"problems": problems}))
    assert said == "error: p.yaml:1:2: first\n  try\n3:4: second\n  so"


def test_importing_the_verbs_is_cheap() -> None:
    import subprocess

    heavy = [
        "psutil",
        "http.client",
        "asyncio",
        "asyncpg",
        "rich",
        "fabric",
        "docker",
        "kubernetes",
        "fastapi",
        "aiohttp",
        "duckdb",
        "yaml",
        "jinja2",
    ]
    code = f"import invoke.program, sys; before = set(sys.modules); import noetl.tasks; print(set({heavy}) & set(sys.modules) - before)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip() == "set()"


def test_the_version_is_answered_without_invoke() -> None:
    import subprocess

    code = "import sys; sys.argv = ['noetl', '--version']; from noetl import cli; cli.main(); print('invoke' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
    assert said[0] == "noetl"
    assert said[2] == "False"


def test_what_a_fast_verb_may_not_import(tmp_path: Path) -> None:
    import subprocess

    # Each of these takes longer to import than the answer takes to give.
    slow = (
        "argparse", "asyncio", "concurrent.futures", "email", "http.client", "importlib.metadata", "logging", "secrets", "shutil",
        "ssl", "uuid",
        "aiohttp", "asyncpg", "docker", "duckdb", "fabric", "fastapi", "invoke", "jinja2", "kubernetes", "nats", "orjson", "rich",
        "uvicorn", "uvloop", "yaml", "noetl.engine", "noetl.ops.nats", "noetl.ops.postgres", "noetl.ops.stack", "noetl.playbook",
        "noetl.store", "noetl.tasks",
    )  # fmt: skip
    code = f"""
import sys
before = set(sys.modules)
from noetl import cli
for words in {[name.split(".") for name in cli.FAST]} + [["--version"]]:
    try:
        cli.main(words)
    except SystemExit:
        pass
print(sorted(set({slow}) & (set(sys.modules) - before)))
"""
    (tmp_path / "token").write_text("made before\n")
    environ = {**os.environ, "NOETL_HOME": str(tmp_path), "NOETL_PORT": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env=environ)
    assert "server: stopped" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
