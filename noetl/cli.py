"""The `noetl` command: the same verbs as `inv`, their words joined by spaces or dots."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from noetl import __version__

if TYPE_CHECKING:
    from noetl.ops.answers import Answer
    from noetl.settings import Settings

INTERRUPTED = 130
OVER_SSH = "--over-ssh"
# Verbs that are answered without Invoke, with the function of noetl.ops.answers that answers each; their one flag is --json.
FAST = {"server.status": "server_status", "worker.list": "worker_list"}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the `noetl` command and exit with its exit code."""
    try:
        _main(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(INTERRUPTED)


def _main(words: list[str]) -> None:
    if words in (["--version"], ["-V"]):
        sys.stdout.write(f"noetl {__version__}\n")
        return
    if words[:1] == [OVER_SSH] and len(words) > 1:
        words = _over_ssh(words[1], words[2:])
    if (answer := _fast(words)) is not None:
        sys.exit(answer)
    from noetl.program import run

    run(words)


def _over_ssh(letter: str, words: list[str]) -> list[str]:
    """Begin a verb that was sent here from another machine, and return its words."""
    from pathlib import Path

    from noetl.errors import NoetlError
    from noetl.ops import attended

    try:
        if warning := attended.begin(Path(letter)):
            sys.stderr.write(f"{warning}\n")
    except (NoetlError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(getattr(error, "exit_code", 1))
    return words


def _fast(words: Sequence[str]) -> int | None:
    """Answer a fast verb and return its exit code; None where the words are something else."""
    verb = ".".join(words[:2]) if len(words) > 1 and not words[1].startswith("-") else "".join(words[:1])
    rest = words[verb.count(".") + 1 :] if "." not in "".join(words[:1]) else words[1:]
    if verb not in FAST or list(rest) not in ([], ["--json"]):
        return None
    from noetl import settings
    from noetl.errors import NoetlError
    from noetl.ops import answers

    answer: Callable[[Settings, bool], Answer] = getattr(answers, FAST[verb])
    try:
        given = answer(settings.read(os.environ), bool(rest))
    except NoetlError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    sys.stdout.write(f"{given.text}\n")
    return given.exit_code


if __name__ == "__main__":
    main()
