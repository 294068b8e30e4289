"""A home of its own for each story, and the shipped command run in it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from noetl.ops import ports

ROOT = Path(__file__).parents[2]


@dataclass
class Operator:
    """Somebody at a prompt: runs verbs in one NOETL_HOME, from another folder than the checkout."""

    home: Path
    port: int
    folder: Path
    more: dict[str, str] = field(default_factory=dict)

    @property
    def environ(self) -> dict[str, str]:
        """The environment of the operator's commands."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("NOETL_", "POSTGRES_", "NATS_"))}
        return clean | {"NOETL_HOME": str(self.home), "NOETL_PORT": str(self.port), "NOETL_HOST": "127.0.0.1"} | self.more

    def popen(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """Start a verb and do not wait for it."""
        command = [sys.executable, "-m", "noetl.cli", *words]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL} | options
        return subprocess.Popen(command, cwd=self.folder, env=self.environ, text=True, **streams)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a verb to its end."""
        with self.popen(*words) as verb:
            out, err = verb.communicate(timeout=100)
            return subprocess.CompletedProcess(words, verb.returncode, out, err)

    def ok(self, *words: str) -> str:
        """Run a verb that has to succeed and return what it prints."""
        done = self.run(*words)
        assert done.returncode == 0, f"{words}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def services(self) -> dict[str, dict[str, Any]]:
        """Return what `ps --json` says, by name."""
        return {row["name"]: row for row in json.loads(self.ok("ps", "--json"))["services"]}

    def processes(self) -> list[psutil.Process]:
        """Return every live process that has this home in its environment, its command line or as its folder."""
        found = []
        for process in psutil.process_iter():
            try:
                known = [process.cwd(), *process.cmdline(), process.environ().get("NOETL_HOME", "")]
                if process.status() != psutil.STATUS_ZOMBIE and any(str(self.home) in text for text in known):
                    found.append(process)
            except psutil.Error:
                continue
        return found


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    with at_a_prompt(tmp_path) as one:
        yield one


@contextlib.contextmanager
def at_a_prompt(folder: Path) -> Iterator[Operator]:
    """Yield an operator with an empty home, of which nothing is left at the end."""
    (folder / "elsewhere").mkdir()
    one = Operator(folder / "home", ports.free(), folder / "elsewhere")
    yield one
    one.run("down", "--force", "--timeout", "3")
    left = one.processes()
    for process in left:
        process.kill()
    assert left == []


@pytest.fixture(scope="session")
def made_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose embedded database was made, and that nothing runs in."""
    folder = tmp_path_factory.mktemp("made_before")
    one = Operator(folder / "home", ports.free(), folder)
    one.ok("db", "init")
    one.ok("down")
    return one.home


@pytest.fixture
def settled(tmp_path: Path, made_before: Path) -> Iterator[Operator]:
    """An operator with a copy of that home: a start is quick."""
    with at_a_prompt(tmp_path) as one:
        subprocess.run(["cp", "--archive", str(made_before), str(one.home)], check=True)
        yield one


@pytest.fixture
def playbook(tmp_path: Path) -> Path:
    """A playbook of one step, a parallel loop that takes a while, and a last step with a result."""
    file = tmp_path / "story.yaml"
    file.write_text(PLAYBOOK)
    return file


PLAYBOOK = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata:
  name: story
  path: tests/story
workload:
  who: world
  items: 8
  pause: 0.05
workflow:
  - step: start
    tool:
      kind: python
      code: |
        def main(who):
            return {"text": f"hello {who}"}
      args:
        who: "{{ workload.who }}"
    next:
      - step: each
  - step: each
    loop:
      in: "{{ range(workload['items']) | list }}"
      iterator: n
      mode: parallel
    tool:
      kind: python
      code: |
        import time
        def main(n, pause):
            time.sleep(pause)
            return n * n
      args:
        n: "{{ n }}"
        pause: "{{ workload.pause }}"
    next:
      - step: end
  - step: end
    tool:
      kind: python
      code: |
        def main(text, squares):
            return {"text": text, "sum": sum(squares)}
      args:
        text: "{{ start.text }}"
        squares: "{{ each.results }}"
"""
