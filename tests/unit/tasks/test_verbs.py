"""Every verb and flag has help, the reference is not stale, and the words of the `noetl` command are those of `inv`."""

from __future__ import annotations

import errno
import inspect
import json
import os
import subprocess
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
    assert names >= {f"credential.{one}" for one in ("set", "list", "remove")}
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
    assert str(caught.value.message).startswith("error: /home/x: No space left on device\n  make room: df -h /")
    with pytest.raises(Exit) as caught:
        interrupted(Context())
    assert caught.value.code == 130


def test_every_problem_of_a_playbook_is_said() -> None:
    problems = [{"line": 1, "column": 2, "message": "first"}, {"line": 3, "column": 4, "message": "second", "hint": "so"}]
    said = describe(PlaybookError("p.yaml:1:2: first", "try", details={"problems": problems}))
    assert said == "error: p.yaml:1:2: first\n  try\n3:4: second\n  so"


# All that a verb which has to be fast may import, with whatever that imports itself.
OF_NOETL = (
    "cli", "errors", "home", "settings", "ops", "ops.answers", "ops.client", "ops.listing", "ops.plain_http", "ops.process", "ops.server",
    "ops.tables", "ops.worker",
)  # fmt: skip
FAST_IMPORTS = {
    "--version": ("noetl.cli", "typing"),
    "server status": (*(f"noetl.{one}" for one in OF_NOETL), "base64", "dataclasses", "encodings.idna", "fcntl", "json", "psutil"),
}
FAST_IMPORTS["worker list"] = FAST_IMPORTS["server status"]
IMPORTED = """
import contextlib, io, json, sys
before = set(sys.modules)
with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(io.StringIO()):
    try:
        {code}
    except SystemExit:
        pass
print(json.dumps([said.getvalue(), sorted(set(sys.modules) - before)]))
"""


def imported(code: str, folder: Path, **more: str) -> tuple[str, set[str]]:
    """Run code in an interpreter of its own; return what it prints, and the modules that it imports."""
    words = [sys.executable, "-c", IMPORTED.format(code=code)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), **more}
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=folder, env=environ)
    said, modules = json.loads(done.stdout)
    return said, set(modules)


@pytest.mark.parametrize(("words", "said"), [("--version", "noetl "), ("server status", "server: stopped"), ("worker list", "no worker")])
def test_all_that_a_fast_verb_imports(tmp_path: Path, words: str, said: str) -> None:
    (tmp_path / "token").write_text("made before\n")
    shown, found = imported(
        f"from noetl import cli; cli.main({words.split()})", tmp_path, NOETL_HOME=str(tmp_path), NOETL_PORT="1", NOETL_SERVER_URL=""
    )
    assert said in shown
    _, allowed = imported(f"import {', '.join(FAST_IMPORTS[words])}", tmp_path)
    assert found - allowed == set()
    assert {name for name in allowed if name.partition(".")[0] == "noetl"} <= {"noetl", *FAST_IMPORTS[words]}


def test_the_fast_verbs_are_all_looked_at() -> None:
    assert set(FAST_IMPORTS) == {"--version", *(name.replace(".", " ") for name in cli.FAST)}


def test_a_list_of_the_verbs_imports_the_verbs_alone(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text("")
    code = "from invoke.main import program; program.run(['inv', '--list'])"
    _, empty = imported(code, tmp_path)
    shown, ours = imported(code, ROOT)
    assert "server.start" in shown
    assert sorted(name for name in ours - empty if not name.startswith("noetl.tasks.")) == [
        "noetl", "noetl.errors", "noetl.settings", "noetl.tasks",
    ]  # fmt: skip
