"""Runs the plan beside the load, lets things settle, and prints the verdict."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from chaos import pages, plan
from chaos.faults import Faults
from chaos.load import Load
from chaos.platform import Platform
from chaos.proof import SHOWN, Proof, prove, unfinished
from noetl.ops.interrupt import heard_once

SETTLE = 90.0
"""Seconds that what was begun has to end, once nothing is broken any more."""


def main() -> int:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="inv chaos", description="Break a stack of its own and prove that nothing was lost.")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long things are broken")
    parser.add_argument("--seed", type=int, default=None, help="repeat the plan of this seed")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    if not 0 < given.seconds < float("inf"):
        sys.stderr.write(f"error: --seconds is {given.seconds:g}\n  give a positive number, such as 60\n")
        return 2
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1_000_000)
    home = Path(tempfile.mkdtemp(prefix="noetl-chaos-"))
    home.chmod(0o755)
    try:
        with heard_once("chaos"):
            report = asyncio.run(_run(home, seed, given.seconds))
    except KeyboardInterrupt:
        shutil.rmtree(home, ignore_errors=True)
        return 130
    well = not report["problems"]
    if given.json:
        print(json.dumps(report, indent=1))
    else:
        _print(report, seed, given.seconds)
    if well:
        shutil.rmtree(home, ignore_errors=True)
        return 0
    sys.stderr.write(f"error: the stack is kept in {home}: its logs are in {home / 'logs'}, what ran in {home / 'ledger'}\n")
    sys.stderr.write(f"  look at the database: NOETL_HOME={home} noetl up, then noetl execution list\n")
    sys.stderr.write(f"  the same plan again: inv chaos --seconds {given.seconds:g} --seed {seed}\n")
    return 1


async def _run(home: Path, seed: int, seconds: float) -> dict[str, Any]:
    platform = Platform(home, _say)
    (home / "logs").mkdir()
    ledger = home / "ledger"
    faults = plan.make(seed, seconds)
    with pages.served() as url:
        left: list[str] = []
        keeper = None
        try:
            _say(f"seed {seed}: a stack of its own starts in {home}")
            await platform.open()
            load = Load(platform, str(ledger), url, seed, _say)
            await load.prepare()
            keeper = asyncio.create_task(platform.keep())
            loading = asyncio.create_task(load.run())
            breaking = Faults(platform, faults, load.cancel, _say)
            await breaking.run()
            await _ended(loading)
            _say("nothing is broken any more; what was begun has to end")
            settled = await _settle(platform)
            proof = await prove(platform, load, ledger)
        finally:
            await _ended(keeper)
            left = await platform.close()
    proof.found("a process is left running", left)
    return _report(seed, seconds, breaking.timeline, settled, proof, platform)


async def _settle(platform: Platform) -> float:
    """Wait until every execution is over, but not forever; return how long it took."""
    begun = time.monotonic()
    while time.monotonic() - begun < SETTLE:
        with contextlib.suppress(OSError, TimeoutError):
            if not await unfinished(platform):
                break
        await asyncio.sleep(0.5)
    return time.monotonic() - begun


async def _ended(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _report(seed: int, seconds: float, timeline: list[str], settled: float, proof: Proof, platform: Platform) -> dict[str, Any]:
    starts = {part.name: part.starts for part in platform.parts}
    problems = {what: {"times": len(examples), "examples": examples[:SHOWN]} for what, examples in proof.problems.items()}
    report = {"seed": seed, "seconds": seconds, "settled": round(settled, 1), "timeline": timeline, "starts": starts}
    return {**report, "counts": proof.counts, "problems": problems}


def _print(report: dict[str, Any], seed: int, seconds: float) -> None:
    print(f"seed {seed}, {seconds:g} s, {len(report['timeline'])} faults; settled after {report['settled']} s")
    print("starts: " + ", ".join(f"{name} {times}" for name, times in report["starts"].items()))
    print(", ".join(f"{name} {count}" for name, count in report["counts"].items()))
    for what, problem in report["problems"].items():
        print(f"WRONG: {what} ({problem['times']} times)")
        for example in problem["examples"]:
            print(f"  {example}")
    print("verdict: " + ("something was lost or repeated" if report["problems"] else "nothing was lost, nothing recorded was repeated"))


def _say(text: str) -> None:
    sys.stderr.write(f"chaos: {text}\n")


if __name__ == "__main__":
    sys.exit(main())
