"""Calls over HTTP that cost the caller as little as can be: what it takes is taken from whoever is measured."""

from __future__ import annotations

import json

from noetl.settings import Secret
from noetl.worker.line import Line

LONGEST = 300.0
"""Seconds that an answer may take."""


class Calls:
    """Sends requests to one server, over as many connections as there are requests at once; they are kept."""

    def __init__(self, url: str, token: str = "") -> None:
        self._url = url
        self._token = Secret(token)
        self._free: list[Line] = []

    async def post(self, path: str, document: object) -> tuple[int, bytes]:
        """Post JSON; return the answer's status and body."""
        line = self._free.pop() if self._free else Line(self._url, self._token)
        try:
            return await line.post(path, json.dumps(document).encode(), LONGEST)
        finally:
            self._free.append(line)

    def close(self) -> None:
        """Hang up."""
        for line in self._free:
            line.close()
