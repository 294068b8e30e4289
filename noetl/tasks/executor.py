"""Invoke's executor, with `-H`: a verb runs here, or on hosts in its place."""

from __future__ import annotations

from typing import Any

from invoke.context import Context
from invoke.executor import Executor
from invoke.parser.context import ParserContext
from invoke.tasks import Call

from noetl.errors import UsageError
from noetl.tasks import core_flags
from noetl.tasks.verb import Verb

ON_HOSTS = "host"


class HostsContext(Context):
    """A verb's context that knows the flags which send it to hosts."""

    def __init__(self, config: Any, given: core_flags.Given) -> None:
        super().__init__(config=config)
        self._set(given=given)


class HostsCall(Call):
    """A call of a verb that was given hosts."""

    given: core_flags.Given

    def make_context(self, config: Any) -> Context:
        """Make the context that knows the hosts."""
        return HostsContext(config, self.given)


class HostsExecutor(Executor):
    """Runs a verb on the hosts of `-H`; without them, as Invoke does."""

    def normalize(self, tasks: Any) -> list[Call]:
        """Turn parsed words into calls: with `-H`, into calls that run the words on hosts."""
        given = core_flags.given(self.core)
        calls = super().normalize(tasks)
        if not given.remote:
            return calls
        return [self._on_hosts(call, words(one), given) for call, one in zip(calls, tasks, strict=True)]

    def dedupe(self, calls: list[Call]) -> list[Call]:
        """Keep every call on hosts: Invoke compares bodies, and theirs differ in the words alone."""
        return calls if core_flags.given(self.core).remote else super().dedupe(calls)

    def _on_hosts(self, call: Call, flags: list[str], given: core_flags.Given) -> Call:
        name = str(call.called_as)
        if name.partition(".")[0] == ON_HOSTS:
            found = HostsCall(call.task, kwargs=call.kwargs, called_as=name)
        else:
            found = HostsCall(Verb(_body(name, flags), name=name), called_as=name)
        found.given = given
        return found


def words(parsed: Any) -> list[str]:
    """Return the flags of a parsed verb as they were typed, those alone that were given."""
    if not isinstance(parsed, ParserContext):
        return []
    found: list[str] = []
    for argument in parsed.args.values():
        if not argument.got_value and not (argument.kind is list and argument.value):
            continue
        name = f"--{parsed_name(argument)}"
        if argument.positional:
            found.append(str(argument.value))
        elif argument.kind is bool:
            found += [name] if argument.value else []
        else:
            values = argument.value if argument.kind is list else [argument.value]
            found += [f"{name}={value}" for value in values]
    return found


def parsed_name(argument: Any) -> str:
    """Return a flag's long name as it is typed."""
    return max((str(name) for name in argument.names), key=len).replace("_", "-").strip("-")


def needs_hosts(context: Context, verb: str) -> core_flags.Given:
    """Return the flags of a verb that works on hosts alone; without them say how it is called."""
    given = getattr(context, "given", None)
    if not isinstance(given, core_flags.Given):
        raise UsageError(f"{verb} needs hosts", f"inv -H a,user@b:2222 {verb}")
    return given


def _body(name: str, flags: list[str]) -> Any:
    def on_hosts(context: HostsContext) -> None:
        """Run the verb on the hosts."""
        from noetl.tasks.fan_out import run_verb

        run_verb(name, flags, context)

    return on_hosts
