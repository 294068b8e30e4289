"""Hosts and the noetl that is installed on them; all of these need `-H`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from invoke.context import Context

from noetl.tasks.executor import needs_hosts
from noetl.tasks.flags import JSON
from noetl.tasks.verb import note, read_settings, say, verb

if TYPE_CHECKING:
    from noetl.tasks.fan_out import Session


@verb(
    help={
        "version": "which version (default: the one that is here)",
        "wheelhouse": "a folder of wheels from host.bundle, for hosts without an index",
        "force": "also where this version is installed from another build",
    }
)
def install(context: Context, version: str = "", wheelhouse: str = "", force: bool = False) -> None:
    """Install noetl on hosts and switch to it.

    Each version has an environment of its own there, and is switched to when it is whole. Running
    workers keep theirs until worker.roll.
    """
    import tempfile
    from pathlib import Path

    from noetl.ops import release

    with tempfile.TemporaryDirectory(prefix="noetl-release-") as folder:

        def prepare() -> Callable[[Session], int]:
            from noetl.tasks import releases

            wheel = release.wheel(version, wheelhouse, Path(folder))
            note(f"noetl {wheel.version}: {wheel.file.name}")
            return releases.installing(wheel, wheelhouse, force=force)

        _on_hosts(context, "host.install", f"install noetl {version}".rstrip(), prepare)


@verb()
def rollback(context: Context) -> None:
    """Switch hosts back to the version before.

    Running workers keep theirs until worker.roll.
    """

    def prepare() -> Callable[[Session], int]:
        from noetl.tasks import releases

        return releases.rolling_back

    _on_hosts(context, "host.rollback", "switch to the version before", prepare)


@verb(name="list", help=JSON)
def list_(context: Context, json: bool = False) -> None:
    """Show the versions that hosts have."""

    def prepare() -> Callable[[Session], int]:
        from noetl.tasks import releases

        return releases.describing

    _on_hosts(context, "host.list", "list the versions", prepare, json=json)


@verb(help={"output": "the folder (default wheelhouse)", "version": "which version (default: the one that is here)"})
def bundle(context: Context, output: str = "wheelhouse", version: str = "") -> None:
    """Fill a folder with the wheels that hosts need.

    For the Python and the platform of each host, which is asked; host.install --wheelhouse takes it.
    """
    import tempfile
    from pathlib import Path

    from noetl.ops import release, tables

    places: list[dict[str, Any]] = []

    def prepare() -> Callable[[Session], int]:
        from noetl.tasks import releases

        return lambda session: releases.asking(session, places)

    def fill() -> None:
        with tempfile.TemporaryDirectory(prefix="noetl-release-") as folder:
            wheels = release.bundle(release.wheel(version, "", Path(folder)), places, Path(output))
        size = tables.size(sum(one.stat().st_size for one in wheels))
        say(f"{output}: {len(wheels)} wheels, {size}\ninstall them: inv -H … host.install --wheelhouse {output}")

    _on_hosts(context, "host.bundle", "ask for Python and platform", prepare, then=fill)


def _on_hosts(
    context: Context,
    name: str,
    what: str,
    prepare: Callable[[], Callable[[Session], int]],
    *,
    json: bool = False,
    then: Callable[[], None] | None = None,
) -> None:
    given = needs_hosts(context, name)
    from noetl.tasks import connection, fan_out

    _, chosen = fan_out.chosen_hosts(name, given, read_settings(), context)
    if given.dry:
        for host in chosen:
            say(f"{host.name} ({connection.route(connection.describe(host))}): {what}")
        return
    fan_out.on_hosts(name, chosen, given, prepare(), json=json)
    if then:
        then()
