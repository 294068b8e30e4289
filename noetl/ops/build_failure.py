"""Why a build failed, out of what its builder said: cause, evidence, what to type next."""

from __future__ import annotations

import re
from collections.abc import Mapping

from noetl.errors import NoetlError
from noetl.ops.build_log import Step

_SHOWN = 12
_NO_IMAGE = re.compile(
    r"pull access denied|manifest unknown|manifest for \S+ not found|no matching manifest|repository does not exist|"
    r"failed to resolve source metadata|failed to resolve reference|Error response from daemon: Get \"?https?://|"
    r"failed to do request|failed to authorize|failed to fetch \w+ token|failed to load metadata|"
    r"registry-1\.docker\.io|auth\.docker\.io|invalid reference format",
    re.IGNORECASE,
)
_NO_SPACE = re.compile(r"no space left on device|disk quota exceeded|\bENOSPC\b", re.IGNORECASE)
_NO_NETWORK = re.compile(
    r"Temporary failure in name resolution|Could not resolve host|Name or service not known|Failed to establish a new connection|"
    r"Network is unreachable|Connection timed out|ConnectTimeoutError|ENOTFOUND|EAI_AGAIN|No route to host",
    re.IGNORECASE,
)
_NO_CERTIFICATE = re.compile(r"CERTIFICATE_VERIFY_FAILED|certificate signed by unknown authority", re.IGNORECASE)
_WRONG_BASE = re.compile(r"does not match the specified platform", re.IGNORECASE)
_WRONG_MACHINE = re.compile(r"exec format error", re.IGNORECASE)
_ANOTHER = "--build-arg PYTHON_IMAGE=NAME"
_ARGUMENT = re.compile(r"ARG\s+(\w+)=(\S*)", re.IGNORECASE)
_REFERENCE = re.compile(r"\$\{?(\w+)\}?")
_FROM = re.compile(r"FROM\s+(?:--platform=\S+\s+)?(\S+)", re.IGNORECASE)


def explain(said: str, steps: list[Step], log: str, platform: str, build_args: Mapping[str, str]) -> NoetlError:
    """Return the error of a build whose builder ended by saying that."""
    failed = next((step for step in reversed(steps) if step.failed), None)
    lines = list(failed.output)[-_SHOWN:] if failed else []
    evidence = "\n".join([*lines, said])
    cause, hint, code = _cause(evidence, failed, platform, _arguments(steps) | dict(build_args))
    where = f" at {failed.title}" if failed else ""
    shown = "".join(f"\n    {line}" for line in [*lines, *(() if said in lines else (said,))])
    return NoetlError(f"{cause}{where}{shown}", f"{hint}\n  the whole log: {log}", code=code)


def _cause(evidence: str, failed: Step | None, platform: str, arguments: Mapping[str, str]) -> tuple[str, str, str]:
    if _NO_SPACE.search(evidence):
        return (
            "the Docker Engine's disk is full",
            "see what takes it: docker system df; free it: docker builder prune, docker image prune",
            "disk_full",
        )
    if _WRONG_MACHINE.search(evidence):
        hint = f"let it run them: apt-get install qemu-user-static, or build on a machine that is {platform}"
        return f"this machine does not run programs of {platform}", hint, "cannot_cross_build"
    if _WRONG_BASE.search(evidence):
        return f"the base image that is here is not one of {platform}", f"name one that is: {_ANOTHER}", "wrong_base_image"
    base = _FROM.match(failed.instruction) if failed else None
    if base or (failed is None and (_NO_IMAGE.search(evidence) or _NO_NETWORK.search(evidence))):
        name = _resolved(base[1], arguments) if base else "a base image"
        return (
            f"{name} is not here and cannot be pulled for {platform}",
            f"name one that is here (docker images), or a mirror's: {_ANOTHER}",
            "no_base_image",
        )
    if _NO_CERTIFICATE.search(evidence):
        return (
            "a certificate is not trusted inside the build",
            f"take a base image that trusts it: {_ANOTHER}",
            "bad_certificate",
        )
    if _NO_NETWORK.search(evidence):
        hint = "let it use this machine's network: --network host; or a mirror: --build-arg PIP_INDEX_URL=URL"
        return "the build does not reach the network", hint, "no_network"
    return "the build failed", "correct what the lines above say, then: inv build", "build_failed"


def _arguments(steps: list[Step]) -> dict[str, str]:
    """Return the arguments' defaults."""
    return {found[1]: found[2].strip("\"'") for step in steps if (found := _ARGUMENT.match(step.instruction))}


def _resolved(name: str, arguments: Mapping[str, str]) -> str:
    """Put arguments' values in place of their names; one may be written in terms of another."""
    for _ in arguments:
        name = _REFERENCE.sub(lambda found: arguments.get(found[1], found[0]), name)
    return name
