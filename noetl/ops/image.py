"""Images: built, looked at and pushed with the Docker Engine. Of the library behind the verbs, the one place that builds with docker."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noetl.errors import NoetlError, Unavailable, UsageError
from noetl.ops import build_failure, buildx, platforms, project_folder, source, tables
from noetl.ops.build_log import BuildLog, BuildxLog, ClassicLog
from noetl.ops.builds import Build, last_build, record
from noetl.ops.process import Progress, quiet
from noetl.ops.source import Source, tag_of

if TYPE_CHECKING:
    from docker import DockerClient

__all__ = ["Build", "build", "engine", "last_build", "push", "tag_of"]
NAME = "noetl"
DOCKERFILE = "docker/Dockerfile"
_UI_IMAGE = "node:20-alpine"
_LOGS = project_folder.NAME / "logs"
_LOGS_KEPT = 20
_TIMEOUT = 600
_ERROR = "ERROR: "
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:-]*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*")
_START = "start it: sudo systemctl start docker (or dockerd); one elsewhere: DOCKER_HOST=…"


@dataclass(frozen=True)
class Wanted:
    """What a builder is asked for."""

    folder: Path
    tag: str
    platform: str
    no_cache: bool
    network: str
    build_args: Mapping[str, str] = field(default_factory=dict)


def build(
    folder: Path,
    *,
    platform: str = "",
    architectures: Iterable[str] = (),
    cluster: str = "the target cluster",
    no_cache: bool = False,
    tag: str = "",
    registry: str = "",
    push_to_registry: bool = False,
    build_args: Mapping[str, str] | None = None,
    network: str = "",
    progress: Progress = quiet,
) -> Build:
    """Build the image of a checkout and record it; `architectures` are those of the nodes that it is for, where they are known.

    A platform that no node has is refused before anything is built. With `push_to_registry` the image goes to its registry too.
    """
    chosen = platforms.choose(platform, architectures, cluster)
    if push_to_registry and not (registry or "/" in tag):
        raise UsageError("--push: to which registry?", "--registry registry.example/team")
    what = source.read(folder)
    wanted = Wanted(folder, _name(what, chosen, tag, registry), chosen, no_cache, network, _arguments(folder, what, build_args or {}))
    with engine() as docker:
        made = _build(docker, wanted, what, progress)
    record(folder, made)
    if push_to_registry:
        made = push(made, progress=progress)
        record(folder, made)
    return made


def push(made: Build, *, registry: str = "", progress: Progress = quiet) -> Build:
    """Push an image to its registry, or to another one, and return it with the registry's digest."""
    from docker.errors import APIError

    target = replace(made, tag=f"{registry}/{made.tag.rpartition('/')[2]}", digest=None) if registry else made
    name = target.tag.rpartition(":")[2]
    with engine() as docker:
        if registry:
            docker.api.tag(made.image_id, target.repository, name, force=True)
        progress(f"push: {target.tag}")
        try:
            digest = _pushed(docker, target.repository, name, progress)
        except APIError as error:
            raise _not_pushed(target.tag, str(error.explanation or error)) from error
    return replace(target, digest=digest)


def digest_in_registry(reference: str) -> str | None:
    """Return the digest that a registry has under a name; None where it has none or cannot be asked."""
    from docker.errors import DockerException

    with engine() as docker, contextlib.suppress(DockerException):
        api: Any = docker.api
        return str(api.inspect_distribution(reference)["Descriptor"]["digest"])
    return None


@contextlib.contextmanager
def engine() -> Iterator[DockerClient]:
    """Connect to the Docker Engine that the docker command would use."""
    from docker.errors import DockerException

    import docker

    environ = dict(os.environ)
    try:
        if not environ.get("DOCKER_HOST"):
            context = docker.ContextAPI.get_current_context()
            if context is not None and context.Host:
                environ["DOCKER_HOST"] = str(context.Host)
        client = docker.from_env(timeout=_TIMEOUT, environment=environ)
    except (DockerException, OSError, ValueError) as error:
        raise Unavailable(f"no Docker Engine answers: {_short(error)}", _START, code="no_docker") from error
    with contextlib.closing(client):
        yield client


def _build(docker: DockerClient, wanted: Wanted, what: Source, progress: Progress) -> Build:
    begun = time.monotonic()
    by_buildx = buildx.is_there()
    reader: BuildLog = BuildxLog() if by_buildx else ClassicLog()
    path = _log_file(wanted.folder)
    builder = "docker buildx" if by_buildx else "the Docker Engine's own builder (no docker buildx here)"
    progress(f"{wanted.tag} for {wanted.platform}, with {builder}; the whole log: {path}")
    said = ""
    try:
        with (wanted.folder / path).open("w") as log:
            lines = buildx.lines(wanted) if by_buildx else _classic(docker, wanted)
            for line in lines:
                log.write(line + "\n")
                log.flush()
                if line.startswith(_ERROR):
                    said = line.removeprefix(_ERROR)
                    continue
                for told in reader.feed(line, time.monotonic()):
                    progress(told)
        for told in reader.finish(time.monotonic(), failed=bool(said)):
            progress(told)
    except OSError as error:
        raise NoetlError(f"{path}: {error.strerror or error}", "the build's log cannot be written: see to space and rights") from error
    if said:
        raise build_failure.explain(said, reader.steps, str(path), wanted.platform, wanted.build_args)
    made = _built(docker, wanted, what, "docker buildx" if by_buildx else "docker engine")
    cached = sum(step.cached for step in reader.steps)
    progress(
        f"{made.tag}: {tables.size(made.size)}, {made.image_id[:19]}, {time.monotonic() - begun:.0f} s, "
        f"{cached} of {len(reader.steps)} steps from the cache"
    )
    return made


def _classic(docker: DockerClient, wanted: Wanted) -> Iterator[str]:
    """Build with the engine's own builder and yield its lines; one that begins with ERROR: is why it failed."""
    from docker.errors import DockerException

    rest = ""
    try:
        stream = docker.api.build(
            path=str(wanted.folder),
            dockerfile=DOCKERFILE,
            tag=wanted.tag,
            buildargs=dict(wanted.build_args),
            platform=wanted.platform,
            nocache=wanted.no_cache,
            network_mode=wanted.network or None,
            rm=True,
            forcerm=True,
            decode=True,
        )
        for message in stream:
            if "error" in message:
                yield from filter(None, [rest])
                yield _ERROR + str(message["error"]).strip()
                return
            *whole, rest = (rest + _text(message)).split("\n")
            yield from (line.rstrip("\r") for line in whole)
    except (DockerException, OSError) as error:
        yield _ERROR + _short(error)
    yield from filter(None, [rest])


def _text(message: Mapping[str, Any]) -> str:
    if "stream" in message:
        return str(message["stream"])
    if "status" in message and "progressDetail" not in message:
        return f"{message.get('id', '')} {message['status']}\n".lstrip()
    return ""


def _built(docker: DockerClient, wanted: Wanted, what: Source, builder: str) -> Build:
    api: Any = docker.api
    found = api.inspect_image(wanted.tag)
    platform = platforms.normal(f"{found['Os']}/{found['Architecture']}")
    if platform != wanted.platform:
        api.remove_image(wanted.tag, force=True, noprune=True)
        raise NoetlError(
            f"the image came out as {platform}, not {wanted.platform}: its base image is {platform}",
            f"name one of {wanted.platform}: --build-arg PYTHON_IMAGE=NAME",
            code="wrong_base_image",
        )
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Build(wanted.tag, str(found["Id"]), platform, what.commit, now, what.version, builder, size=int(found["Size"]))


def _name(what: Source, platform: str, tag: str, registry: str) -> str:
    """Return the image's whole name. Two platforms of one content are two images, so all but the default one are in the tag."""
    name = _named(what, platform, tag, registry)
    repository, _, last = name.rpartition(":")
    if not _TAG.fullmatch(last) or not _REPOSITORY.fullmatch(repository):
        raise UsageError(f"{name!r} cannot be an image's name", "--tag takes letters, digits, _ . and -; --registry registry.example/team")
    return name


def _named(what: Source, platform: str, tag: str, registry: str) -> str:
    prefix = f"{registry.rstrip('/')}/" if registry else ""
    if "/" in tag or ":" in tag:
        return f"{prefix}{tag}" if ":" in tag.rpartition("/")[2] else f"{prefix}{tag}:{what.tag}"
    architecture = "" if platform == platforms.DEFAULT else f"-{platform.partition('/')[2]}"
    return f"{prefix}{NAME}:{tag or what.tag + architecture}"


def _arguments(folder: Path, what: Source, given: Mapping[str, str]) -> dict[str, str]:
    # Of one content the time is its commit's, so that the same content is the same image.
    ours = {"VERSION": what.version, "REVISION": what.commit, "CREATED": what.time}
    if (folder / "ui-src" / "package.json").is_file():
        ours["UI_IMAGE"] = _UI_IMAGE
    return ours | dict(given)


def _log_file(folder: Path) -> Path:
    project_folder.make(folder)
    (folder / _LOGS).mkdir(exist_ok=True)
    for old in sorted((folder / _LOGS).glob("build-*.log"))[: -_LOGS_KEPT + 1]:
        old.unlink(missing_ok=True)
    return _LOGS / f"build-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}.log"


def _pushed(docker: DockerClient, repository: str, tag: str, progress: Progress) -> str:
    digest = ""
    for message in docker.api.push(repository, tag=tag, stream=True, decode=True):
        if "error" in message:
            raise _not_pushed(f"{repository}:{tag}", str(message["error"]))
        if message.get("status") in ("Pushed", "Layer already exists"):
            progress(f"push: {message.get('id', '')} {str(message['status']).lower()}")
        digest = str((message.get("aux") or {}).get("Digest") or digest)
    if not digest:
        raise _not_pushed(f"{repository}:{tag}", "the engine named no digest")
    return digest


def _not_pushed(name: str, said: str) -> NoetlError:
    host = name.partition("/")[0]
    if any(word in said.lower() for word in ("unauthorized", "denied", "authentication", "no basic auth")):
        return NoetlError(f"{name} was not pushed: the registry refuses: {said}", f"docker login {host}", code="registry_refuses")
    if "server gave http response to https" in said.lower():
        hint = f'its engine has to know that it speaks HTTP: "insecure-registries": ["{host}"] in /etc/docker/daemon.json'
        return NoetlError(f"{name} was not pushed: {said}", hint, code="registry_insecure")
    return NoetlError(f"{name} was not pushed: {said}", f"does this machine reach it? docker push {name}", code="not_pushed")


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
