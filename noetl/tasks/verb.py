"""What every verb shares: errors as exit codes, settings from the environment, output for people and for programs."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from invoke.exceptions import Exit
from invoke.tasks import Task, task

from noetl import settings as configuration
from noetl.errors import NoetlError
from noetl.settings import Settings

INTERRUPTED = 130
_Body = TypeVar("_Body", bound=Callable[..., Any])


class Verb(Task[Any]):
    """A task whose NoetlError ends the program with its message and its exit code, without a traceback."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if any(kwargs.get(name) in ("--help", "-h") for name in self.positional):
            raise Exit(f"error: {self.name} takes that for its argument\n  put it first: inv --help NOUN.{self.name}", code=2)
        try:
            return super().__call__(*args, **kwargs)
        except NoetlError as error:
            raise Exit(describe(error), code=error.exit_code) from error
        except BrokenPipeError:
            # Whoever read the answer has gone, as `| head` does; Python would complain again when it closes stdout.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise Exit("", code=0) from None
        except OSError as error:  # a folder that cannot be written, a full disk: nothing that a traceback would explain
            where = f"{error.filename}: " if error.filename else ""
            home = read_settings().home
            hint = f"make room: df -h {home}" if error.errno in (errno.ENOSPC, errno.EDQUOT) else f"NOETL_HOME is {home}"
            raise Exit(f"error: {where}{error.strerror or error}\n  {hint}", code=1) from error
        except KeyboardInterrupt:
            raise Exit("interrupted", code=INTERRUPTED) from None


def verb(*, name: str | None = None, help: dict[str, str] | None = None, **options: Any) -> Callable[[_Body], Verb]:
    """Make a function a verb; its docstring is the verb's help, `help` that of its flags."""
    short = options.pop("auto_shortflags", False)
    decorate: Callable[[_Body], Verb] = task(klass=Verb, name=name, help=help or {}, auto_shortflags=short, **options)
    return decorate


def describe(error: NoetlError) -> str:
    """Write an error as a terminal shows it: what happened, every problem of a playbook, what to type next."""
    problems = error.details.get("problems") or []
    parts = [paint(f"error: {error.message}", "31", sys.stderr)]
    parts += [f"  {error.hint}"] if error.hint else []
    for problem in problems[1:]:
        parts.append(f"{problem.get('line')}:{problem.get('column')}: {problem.get('message')}")
        parts += [f"  {problem['hint']}"] if problem.get("hint") else []
    return "\n".join(parts)


def read_settings() -> Settings:
    """Read the settings of this process's environment."""
    return configuration.read(os.environ)


def say(text: str) -> None:
    """Write a line of the verb's answer."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Write a line about what happens meanwhile, where it does not mix with the answer."""
    sys.stderr.write(f"{paint(text, '2', sys.stderr)}\n")
    sys.stderr.flush()


def note_warnings(file: str, warnings: Iterable[str]) -> None:
    """Write what is legal in a playbook, and probably not meant."""
    for warning in warnings:
        sys.stderr.write(f"{paint(f'warning: {file}: {warning}', '33', sys.stderr)}\n")


def colours(stream: Any) -> bool:
    """Tell whether to colour: a terminal, and no NO_COLOR."""
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, code: str, stream: Any) -> str:
    """Colour text for a stream that shows colours."""
    return f"\x1b[{code}m{text}\x1b[0m" if colours(stream) else text


def finish(text: str, exit_code: int) -> None:
    """Write the answer and end the verb with its exit code."""
    say(text)
    if exit_code:
        raise Exit("", code=exit_code)
