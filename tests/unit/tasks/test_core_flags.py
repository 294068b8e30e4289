"""The flags that send a verb to hosts, as Invoke parses them."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from invoke.parser.argument import Argument
from invoke.parser.context import ParserContext

from noetl import program
from noetl.tasks import core_flags, ns, optional_words
from noetl.tasks.executor import words

ROOT = Path(__file__).parents[3]
NOUNS = {str(name): [str(one) for one in noun.task_names] for name, noun in ns.collections.items()}


@pytest.mark.parametrize(
    ("typed", "joined"),
    [
        ("-H a worker start --count 2", "-H a worker.start --count 2"),
        ("-H worker worker start", "-H worker worker.start"),
        ("--hosts a --parallel 3 server stop", "--hosts a --parallel 3 server.stop"),
        ("-R -H a ps", "-R -H a ps"),
        ("--batch 25% -H a worker list", "--batch 25% -H a worker.list"),
    ],
)
def test_the_value_of_a_flag_is_no_noun(typed: str, joined: str) -> None:
    assert program.join(typed.split(), NOUNS) == joined.split()


def test_a_verbs_flags_travel_as_they_were_given() -> None:
    parsed = ParserContext(
        "x",
        args=[
            Argument(names=("name",)),
            Argument(names=("all",), kind=bool, default=False),
            Argument(names=("force",), kind=bool, default=False),
            Argument(names=("max_workers",), kind=int, default=0),
        ],
    )
    parsed.args["name"].value = "a b"
    parsed.args["force"].value = True
    parsed.args["max_workers"].value = "3"
    assert words(parsed) == ["--name=a b", "--force", "--max-workers=3"]


def test_the_flags_have_help() -> None:
    assert all(argument.help for argument in core_flags.arguments())


@pytest.mark.parametrize("typed", ["-R -H a worker.stop --name w", "worker.stop --name w -H a -R", "-H a -R worker.stop --name=w"])
def test_invokes_own_program_takes_the_flags(typed: str, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / "inv"), *typed.split()]
    done = subprocess.run(command, cwd=ROOT, env={"HOME": str(tmp_path), "PATH": ""}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "noetl worker.stop --name=w" in done.stdout


def test_fabric_is_imported_for_hosts_alone() -> None:
    code = (
        "import sys; from invoke.program import Program; sys.argv = ['inv', '--list']\n"
        "try: Program().run()\n"
        "except SystemExit: pass\n"
        "print({'fabric', 'paramiko', 'yaml', 'psutil', 'concurrent.futures'} & set(sys.modules) - before)"
    )
    said = subprocess.run(
        [sys.executable, "-c", f"import sys, invoke.program; before = set(sys.modules)\n{code}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said.splitlines()[-1] == "set()"


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ("k8s.rollback 3 --json", "k8s.rollback --revision=3 --json"),
        ("k8s.rollback --timeout 3", "k8s.rollback --timeout 3"),
        ("k8s.rollback db.init", "k8s.rollback db.init"),
        ("worker.start 3", "worker.start 3"),
    ],
)
def test_a_word_that_a_verb_may_go_without(typed: str, named: str) -> None:
    assert optional_words.named(typed.split()) == named.split()


@pytest.mark.parametrize("command", [["inv", "k8s.rollback", "3"], ["noetl", "k8s", "rollback", "3"], ["noetl", "k8s.rollback"]])
def test_both_programs_take_it(command: list[str], tmp_path: Path) -> None:
    program, *words = command
    environ = {"HOME": str(tmp_path), "PATH": "", "KUBECONFIG": str(tmp_path / "none")}
    typed = [str(Path(sys.executable).parent / program), *words]
    done = subprocess.run(typed, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no Kubernetes cluster is known here" in done.stderr


def test_flags_that_words_stand_for_are_there() -> None:
    for verb, flag in optional_words.FLAGS.items():
        assert flag in inspect.signature(ns[verb].body).parameters
