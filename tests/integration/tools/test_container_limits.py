"""What a container may have, where a template has made it: wrong values are told before anything is asked to run it."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"memory": "5i"}, "memory is '5i'; write 512Mi or 2Gi"),
        ({"memory": "lots"}, "memory is 'lots'; write 512Mi or 2Gi"),
        ({"cpu": "half"}, "cpu is 'half'; write 0.5 or 500m"),
        ({"pull": "allways"}, "pull is 'allways'; it is missing, always, never"),
    ],
)
async def test_wrong_limits(bench: Any, limits: dict[str, str], message: str) -> None:
    outcome = await bench.run("container", {"runtime": {"provider": "docker", "image": "a", **limits}})
    assert (outcome.error["type"], outcome.error["message"]) == ("config", message)
