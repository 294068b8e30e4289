"""Invoke's program as the `noetl` command: the package's own verbs, wherever it is called."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from invoke.exceptions import Exit, ParseError
from invoke.parser.argument import Argument
from invoke.program import Program

from noetl import __version__
from noetl.tasks import core_flags, ns
from noetl.tasks.executor import HostsExecutor
from noetl.tasks.optional_words import named

USAGE = 2
_WITH_VALUE = ("-H", "--hosts", "--parallel", "--batch", "-T", "--command-timeout", "-f", "--config", "--hide", "-D", "--list-depth")


class Command(Program):
    """Invoke's program with exit code 2 for words that it does not understand."""

    def core_args(self) -> list[Argument]:
        """Return Invoke's own flags and those that send a verb to hosts."""
        return [*super().core_args(), *core_flags.arguments()]

    def parse_core(self, argv: list[str] | None) -> None:
        """Parse the words that belong to no verb."""
        try:
            super().parse_core(argv)
        except ParseError as error:
            raise Exit(str(error), code=USAGE) from error

    def parse_tasks(self) -> None:
        """Parse the verbs and their flags."""
        try:
            super().parse_tasks()
        except ParseError as error:
            raise Exit(f"{error}\n  see: noetl --list, noetl VERB --help", code=USAGE) from error
        except ValueError as error:  # a flag that takes a number got something else
            raise Exit(f"error: {error}\n  see: noetl VERB --help", code=USAGE) from error


def run(words: Sequence[str]) -> None:
    """Run the verb that the words name, and exit with its exit code."""
    nouns = {str(name): [str(verb) for verb in noun.task_names] for name, noun in ns.collections.items()}
    if problem := unknown_verb(words, nouns):
        sys.stderr.write(f"{problem}\n")
        sys.exit(USAGE)
    try:
        Command(name="noetl", binary="noetl", version=__version__, namespace=ns, executor_class=HostsExecutor).run(
            ["noetl", *named(join(words, nouns))]
        )
    except BrokenPipeError:
        # Whoever read the answer has gone, as `| head` does; Python would complain again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def unknown_verb(words: Sequence[str], nouns: Mapping[str, Sequence[str]]) -> str:
    """Say that a noun has no such verb, and which it has; empty where the words begin otherwise."""
    noun, _, verb = words[0].partition(".") if words else ("", "", "")
    if not verb and len(words) > 1:
        verb = words[1]
    if noun not in nouns or not verb or verb.startswith("-") or verb in nouns[noun]:
        return ""
    return f"error: {noun} has no verb {verb!r}\n  it has: {', '.join(nouns[noun])}"


def help_first(words: Sequence[str]) -> list[str]:
    """Put `--help` before the verb where it follows it: Invoke would take it for the value of a verb's first argument."""
    return ["--help", words[0]] if list(words[1:]) in (["--help"], ["-h"]) else list(words)


def join(words: Sequence[str], nouns: Mapping[str, Sequence[str]]) -> list[str]:
    """Join the first noun and its verb with a dot: `server start --init-db` is `server.start --init-db`; a noun alone lists its verbs."""
    value = False
    for index, word in enumerate(words):
        if value or word.startswith("-"):
            value = not value and word in _WITH_VALUE
            continue
        if word not in nouns:
            return [*words[:index], *help_first(words[index:])]
        after = words[index + 1] if index + 1 < len(words) else ""
        if after in nouns[word]:
            return [*words[:index], *help_first([f"{word}.{after}", *words[index + 2 :]])]
        return ["--list", word] if not after or after.startswith("-") else list(words)
    return list(words)
