"""What a builder's output says: which step of which stage it is at, what came from the cache, how long it took, what failed."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

_KEPT = 20
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_CLASSIC_STEP = re.compile(r"Step (\d+)/(\d+) : (.*)")
_STAGE = re.compile(r"FROM\s+(?:--platform=\S+\s+)?(\S+)(?:\s+AS\s+(\S+))?", re.IGNORECASE)
_VERTEX = re.compile(r"#(\d+) (.*)")
_VERTEX_TITLE = re.compile(r"\[(?:(\S+) )?(\d+)/(\d+)\] (.*)")
_DONE = re.compile(r"DONE (\d+\.\d+)s")
_PULLED = re.compile(r"sha256:\w+ \d|extracting ")
_OUTPUT = re.compile(r"\d+\.\d+ (.*)")
_LAST_STAGE = "image"


@dataclass
class Step:
    """One instruction of a Dockerfile and what came of it."""

    stage: str
    number: int
    total: int
    instruction: str
    begun: float
    seconds: float = 0.0
    cached: bool = False
    failed: bool = False
    ended: bool = False
    output: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT))

    @property
    def title(self) -> str:
        """Return what tells the step from the others, on one line."""
        shown = " ".join(self.instruction.split())
        return f"[{self.stage} {self.number}/{self.total}] {shown if len(shown) <= 100 else shown[:99] + '…'}"


class BuildLog(Protocol):
    """Reads the lines of a builder."""

    steps: list[Step]

    def feed(self, line: str, now: float) -> list[str]:
        """Take a line that was written at a time of one clock, in seconds, and return what to tell of it."""

    def finish(self, now: float, *, failed: bool) -> list[str]:
        """Take the end of it all, and return what to tell of it."""


class ClassicLog:
    """The output of the engine's own builder, one step after another."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._stage = ""
        self._stages = 0

    def feed(self, line: str, now: float) -> list[str]:
        """Take a line."""
        text = _COLOUR.sub("", line).rstrip()
        if found := _CLASSIC_STEP.fullmatch(text):
            told = self._end(now)
            self._begin(int(found[1]), int(found[2]), found[3], now)
            return told
        if not self.steps or not text:
            return []
        step = self.steps[-1]
        if text == " ---> Using cache":
            step.cached = True
        elif text.startswith(" ---> Running in "):
            return [f"{step.title} …"] if step.instruction.startswith("RUN") else []
        elif ": Pulling from " in text and step.instruction.startswith("FROM"):
            step.cached = False
        elif not text.startswith((" ---> ", "Removing intermediate container ")):
            step.output.append(text)
        return []

    def finish(self, now: float, *, failed: bool) -> list[str]:
        """Take the end."""
        return self._end(now, failed=failed)

    def _begin(self, number: int, total: int, instruction: str, now: float) -> None:
        if stage := _STAGE.fullmatch(instruction.strip()):
            self._stages += 1
            self._stage = stage[2] or _LAST_STAGE
        nothing_to_do = instruction.startswith(("FROM", "ARG")) and (stage is not None or not self._stages)
        self.steps.append(Step(self._stage or "arguments", number, total, instruction, now, cached=nothing_to_do))

    def _end(self, now: float, *, failed: bool = False) -> list[str]:
        if not self.steps or self.steps[-1].ended:
            return []
        step = self.steps[-1]
        step.seconds, step.failed, step.ended = now - step.begun, failed, True
        step.cached = step.cached and not failed
        return [_told(step)]


class BuildxLog:
    """The output of `docker buildx build --progress=plain`, steps side by side."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._known: dict[str, Step] = {}
        self._announced: set[str] = set()

    def feed(self, line: str, now: float) -> list[str]:
        """Take a line."""
        found = _VERTEX.fullmatch(_COLOUR.sub("", line).rstrip())
        if not found:
            return []
        vertex, said = found[1], found[2]
        if vertex not in self._known:
            if title := _VERTEX_TITLE.fullmatch(said):
                nothing_to_do = title[4].startswith("FROM ")
                self._known[vertex] = Step(title[1] or _LAST_STAGE, int(title[2]), int(title[3]), title[4], now, cached=nothing_to_do)
                self.steps.append(self._known[vertex])
            return []
        return self._said(vertex, said, now)

    def finish(self, now: float, *, failed: bool) -> list[str]:
        """Take the end: of a build that was cut off, what was under way has failed."""
        under_way = [step for step in self.steps if not step.ended]
        cut_off = failed and not any(step.failed for step in self.steps)
        for step in under_way:
            step.ended, step.failed, step.seconds = True, cut_off, now - step.begun
        return [_told(step) for step in under_way if step.failed]

    def _said(self, vertex: str, said: str, now: float) -> list[str]:
        step = self._known[vertex]
        done = _DONE.fullmatch(said)
        if done or said.startswith("ERROR: ") or said in ("CACHED", "CANCELED"):
            if step.ended:
                return []
            step.ended, step.failed = True, said.startswith("ERROR: ")
            step.cached = not step.failed and (step.cached or said == "CACHED")
            step.seconds = float(done[1]) if done else now - step.begun
            if step.failed and not step.output:
                step.output.append(said.removeprefix("ERROR: "))
            return [] if said == "CANCELED" else [_told(step)]
        if _PULLED.match(said):
            step.cached = False
        if output := _OUTPUT.fullmatch(said):
            step.output.append(output[1])
            if vertex not in self._announced:
                self._announced.add(vertex)
                return [f"{step.title} …"]
        return []


def _told(step: Step) -> str:
    end = "FAILED after " if step.failed else ""
    return f"{step.title}: {'from the cache' if step.cached else f'{end}{step.seconds:.1f} s'}"
