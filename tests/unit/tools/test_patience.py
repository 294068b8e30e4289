"""For how long a server asks to be left alone, whatever its clock says."""

from __future__ import annotations

import http.server
import threading
from email.utils import formatdate

import pytest

from noetl.tools.base import ToolError
from noetl.tools.exchange import send_and_wait
from noetl.tools.request import Request

YEAR_2001 = 1_000_000_000


@pytest.mark.parametrize(("after", "seconds"), [(formatdate(YEAR_2001 + 30, usegmt=True), 30.0), ("7", 7.0), ("soon", None)])
def test_a_date_is_one_by_the_clock_of_whoever_answers(after: str, seconds: float | None) -> None:
    class Busy(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(503)
            for name, value in (("Date", formatdate(YEAR_2001, usegmt=True)), ("Retry-After", after), ("Content-Length", "0")):
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(ToolError) as refused:
            send_and_wait(Request("GET", f"http://127.0.0.1:{server.server_port}/"), 20)
        server.shutdown()
    assert refused.value.details["retry_after"] == seconds
