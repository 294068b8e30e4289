"""What every way of getting an image to nodes has, and the programs that they run."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from noetl.errors import NoetlError, UsageError
from noetl.ops.builds import Build
from noetl.ops.node import Node

Run = Callable[[Sequence[str]], str]
"""Runs a command and returns what it prints; raises NoetlError where it fails."""


def run(command: Sequence[str]) -> str:
    """Run a command and return what it prints."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    except FileNotFoundError as error:
        raise UsageError(f"{command[0]} is not installed", f"its cluster was made with {command[0]}: put it on the PATH") from error
    if done.returncode:
        said = [line for line in (done.stderr or done.stdout).strip().splitlines() if line][-5:]
        shown = " ".join(command)
        raise NoetlError(f"{shown}: exit code {done.returncode}: {' / '.join(said)}", f"see what it says: {shown}", code="not_loaded")
    return done.stdout


@dataclass(frozen=True)
class Cluster:
    """The nodes that an image is for, the context that leads to them, and the registry that they pull from, if one is named."""

    context: str
    nodes: tuple[Node, ...]
    registry: str = ""
    boot_id: str = ""
    run: Run = run


class Loader(Protocol):
    """A way of getting an image to nodes."""

    name: str

    def fits(self, cluster: Cluster) -> bool:
        """Tell whether this is the way to that cluster's nodes."""

    def holds(self, build: Build, cluster: Cluster) -> bool:
        """Tell whether the image is there already."""

    def load(self, build: Build, cluster: Cluster) -> Build:
        """Bring the image there, and return it as the nodes know it."""


def this_boot() -> str:
    """Return the kernel's id of this machine's boot; empty where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def id_by_crictl(program: str, node: str, tag: str, cluster: Cluster) -> str:
    """Return the id of an image in a node that is a container; empty where it has none."""
    try:
        found: dict[str, Any] = json.loads(cluster.run([program, "exec", node, "crictl", "inspecti", "--output", "json", tag]))
    except (NoetlError, ValueError):
        return ""
    return str((found.get("status") or {}).get("id") or "")
