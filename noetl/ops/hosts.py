"""The hosts of `-H`: names, groups of them, and what their file says."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from noetl.errors import UsageError

_OPTIONS = ("python", "home", "env")
_SECTIONS = ("groups", "hosts", "worker")


@dataclass(frozen=True)
class Host:
    """A host as it was typed (`[user@]name[:port]`), and what the hosts file says of it."""

    name: str
    python: str = ""
    home: str = ""
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class HostsFile:
    """Groups of hosts, options of single ones, and the URL at which their workers find the server."""

    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    server_url: str = ""


def read(home: Path, project: Path, given: Any = None) -> HostsFile:
    """Read NOETL_HOME/hosts.yaml, and over it the key `hosts` of the project's invoke.yaml (or `given` in its place)."""
    document = given if given is not None else _load(project / "invoke.yaml").get("hosts")
    return _merge(parse(_load(home / "hosts.yaml"), str(home / "hosts.yaml")), parse(document or {}, "invoke.yaml: hosts"))


def parse(document: Any, where: str) -> HostsFile:
    """Turn a hosts document into its parts; what cannot be understood raises UsageError naming it."""
    sections = _mapping(document, where, _SECTIONS)
    groups = {}
    for name, members in _mapping(sections.get("groups"), f"{where}: groups").items():
        if not isinstance(members, list) or not all(isinstance(member, str) for member in members):
            raise UsageError(f"{where}: group {name} is no list of hosts", f"groups: {{{name}: [a, user@b:2222]}}")
        groups[str(name)] = members
    options = {
        str(name): _mapping(one, f"{where}: hosts: {name}", _OPTIONS)
        for name, one in _mapping(sections.get("hosts"), f"{where}: hosts").items()
    }
    worker = _mapping(sections.get("worker"), f"{where}: worker", ("server_url",))
    return HostsFile(groups, options, str(worker.get("server_url") or ""))


def choose(given: str, file: HostsFile) -> list[Host]:
    """Return the hosts that `-H` names, groups in their place, each host once."""
    names = dict.fromkeys(_names(given.split(","), file, ()))
    if not names:
        raise UsageError("-H names no host", "-H a,user@b:2222 or -H @group")
    return [_host(name, file.options.get(name, {})) for name in names]


def batches(hosts: Sequence[Host], batch: str) -> list[list[Host]]:
    """Split hosts into batches of N, or of a share of them (`25%`, at least one); without a batch all go together."""
    size = len(hosts)
    if batch:
        number = batch.removesuffix("%")
        if not number.isdecimal() or int(number) < 1 or (batch.endswith("%") and int(number) > 100):
            raise UsageError(f"--batch {batch} is neither a number of hosts nor a share of them", "--batch 2, or --batch 25%")
        size = max(1, math.floor(len(hosts) * int(number) / 100)) if batch.endswith("%") else int(number)
    return [list(hosts[start : start + size]) for start in range(0, len(hosts), max(1, size))]


def _names(words: Sequence[str], file: HostsFile, within: tuple[str, ...]) -> Iterator[str]:
    for word in (word.strip() for word in words):
        if not word.startswith("@"):
            if word.startswith("-") or any(letter.isspace() for letter in word):
                raise UsageError(f"{word!r} is no host", "-H a,user@b:2222 or -H @group")
            yield from [word] if word else []
            continue
        group = word[1:]
        if group in within:
            raise UsageError(f"group {group} has itself as a member: {' > '.join([*within, group])}", "take one of them out")
        if group not in file.groups:
            known = ", ".join(f"@{name}" for name in file.groups) or "none"
            raise UsageError(f"there is no group @{group}", f"these are: {known}; write it into hosts.yaml: groups: {{{group}: [a, b]}}")
        yield from _names(file.groups[group], file, (*within, group))


def _host(name: str, options: Mapping[str, Any]) -> Host:
    env = {str(key): str(value) for key, value in _mapping(options.get("env"), f"env of {name}").items()}
    return Host(name, str(options.get("python") or ""), str(options.get("home") or ""), env)


def _mapping(found: Any, where: str, known: Sequence[str] = ()) -> Mapping[str, Any]:
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise UsageError(f"{where} is no mapping", "groups: {workers: [a, b]}")
    if unknown := [str(key) for key in found if known and key not in known]:
        raise UsageError(f"{where} has {unknown[0]!r}, which means nothing here", f"it may have: {', '.join(known)}")
    return found


def _merge(below: HostsFile, above: HostsFile) -> HostsFile:
    return HostsFile({**below.groups, **above.groups}, {**below.options, **above.options}, above.server_url or below.server_url)


def _load(path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        return _mapping(yaml.safe_load(path.read_text()), str(path))
    except FileNotFoundError:
        return {}
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is no YAML: {' '.join(str(error).split())}", "groups: {workers: [a, b]}") from error
