"""Restate: a step is `ctx.run`, and so is an item of a loop; the items are gathered."""

from __future__ import annotations

import restate

flows = restate.Service("flows")


async def nothing() -> None:
    """Do nothing, as a step."""


@flows.handler()
async def chain(ctx: restate.Context, steps: int) -> None:
    """Run steps one after another."""
    for number in range(steps):
        await ctx.run_typed(f"step {number}", nothing)


@flows.handler()
async def loop(ctx: restate.Context, items: int) -> None:
    """Run items in parallel and wait for all of them."""
    await restate.gather(*[ctx.run_typed(f"item {number}", nothing) for number in range(items)])


app = restate.app([flows])
