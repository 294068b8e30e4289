"""A command at a terminal of its own: what is typed there, and what it shows."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

PATIENCE = 300.0
CTRL_C = "\x03"


class Terminal:
    """Runs a command at a terminal, which sends the signals that its keys mean."""

    def __init__(self, args: Sequence[str], cwd: Path, env: Mapping[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        self.shown = ""
        self._process = subprocess.Popen(["setsid", "--ctty", *args], cwd=cwd, env=dict(env), stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)

    def __enter__(self) -> Self:
        """Return it; the command runs already."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Kill the command if it runs still."""
        self._process.kill()
        self._process.wait()
        os.close(self._ours)

    def until(self, text: str) -> None:
        """Return when a text has been shown."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.shown:
            assert self._read(deadline), f"it ended without {text!r}: {self.shown}"

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._ours, keys.encode())

    def end(self) -> int:
        """Return the command's exit code once it has ended; all that it has shown is then in `shown`."""
        deadline = time.monotonic() + PATIENCE
        while self._read(deadline):
            pass
        return self._process.wait(PATIENCE)

    def _read(self, deadline: float) -> bool:
        """Read what is shown next; tell whether more can come."""
        ready, _, _ = select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"nothing more is shown: {self.shown}"
        data = b""
        with contextlib.suppress(OSError):  # the command was the last at this terminal, and has ended
            data = os.read(self._ours, 65536)
        self.shown += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)
