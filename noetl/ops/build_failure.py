"""Why a build failed, out of what its builder said: cause, evidence, what to type next."""

from __future__ import annotations

import re

from noetl.errors import NoetlError
from noetl.ops.build_log import Step

_SHOWN = 12
_NO_IMAGE = re.compile(
    r"pull access denied|manifest unknown|manifest for \S+ not found|no matching manifest|repository does not exist|"
    r"failed to resolve source metadata|failed to resolve reference|Error response from daemon: Get \"?https?://|"
    r"registry-1\.docker\.io|auth\.docker\.io|invalid reference format|does not match the specified platform|was found but",
    re.IGNORECASE,
)
_NO_SPACE = re.compile(r"no space left on device|disk quota exceeded|\bENOSPC\b", re.IGNORECASE)
_NO_NETWORK = re.compile(
    r"Temporary failure in name resolution|Could not resolve host|Name or service not known|Failed to establish a new connection|"
    r"Network is unreachable|Connection timed out|ConnectTimeoutError|ENOTFOUND|EAI_AGAIN|No route to host",
    re.IGNORECASE,
)
_NO_CERTIFICATE = re.compile(r"CERTIFICATE_VERIFY_FAILED|certificate signed by unknown authority", re.IGNORECASE)
_WRONG_MACHINE = re.compile(r"exec format error", re.IGNORECASE)
_FROM = re.compile(r"FROM\s+(?:--platform=\S+\s+)?(\S+)", re.IGNORECASE)


def explain(said: str, steps: list[Step], log: str, platform: str) -> NoetlError:
    """Return the error of a build whose builder ended by saying that."""
    failed = next((step for step in reversed(steps) if step.failed), None)
    lines = list(failed.output)[-_SHOWN:] if failed else []
    evidence = "\n".join([*lines, said])
    cause, hint, code = _cause(evidence, failed, platform)
    where = f" at {failed.title}" if failed else ""
    shown = "".join(f"\n    {line}" for line in [*lines, *(() if said in lines else (said,))])
    return NoetlError(f"{cause}{where}{shown}", f"{hint}\n  the whole log: {log}", code=code)


def _cause(evidence: str, failed: Step | None, platform: str) -> tuple[str, str, str]:
    if _NO_SPACE.search(evidence):
        return (
            "the Docker Engine's disk is full",
            "see what takes it: docker system df; free it: docker builder prune, docker image prune",
            "disk_full",
        )
    if _WRONG_MACHINE.search(evidence):
        hint = f"let it run them: apt-get install qemu-user-static, or build on a machine that is {platform}"
        return f"this machine does not run programs of {platform}", hint, "cannot_cross_build"
    begins = failed is None or failed.instruction.upper().startswith("FROM")
    if begins and (_NO_IMAGE.search(evidence) or _NO_NETWORK.search(evidence)):
        base = _FROM.match(failed.instruction) if failed else None
        name = base[1] if base and not base[1].startswith("$") else "the base image"
        hint = "name one that the engine has (docker images) or a mirror's: --build-arg PYTHON_IMAGE=NAME"
        return f"{name} is not here and cannot be pulled for {platform}", hint, "no_base_image"
    if _NO_CERTIFICATE.search(evidence):
        return (
            "a certificate is not trusted inside the build",
            "take a base image that trusts it: --build-arg PYTHON_IMAGE=NAME",
            "bad_certificate",
        )
    if _NO_NETWORK.search(evidence):
        hint = "let it use this machine's network: --network host; or a mirror: --build-arg PIP_INDEX_URL=URL"
        return "the build does not reach the network", hint, "no_network"
    return "the build failed", "correct what the lines above say, then: inv build", "build_failed"
