"""Fifty times two starts in the same millisecond: one process each time, and both starts say the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from noetl.ops import ports

ROUNDS = 50
STARTS = 2

# Takes the server's lock and its port as the server does, and answers what a start asks: light enough to be started fifty times.
SERVER = """#!{python}
import http.server, json, os, socketserver, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from noetl.home import Lock
port = int(sys.argv[sys.argv.index("--port") + 1])
lock = Lock(Path(os.environ["NOETL_HOME"]) / f"server-{{port}}.lock")
lock.acquire({{"pid": os.getpid(), "port": port}})

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({{"pid": os.getpid()}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

# Not http.server's own server: it asks the name service for the machine's name before it listens.
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("127.0.0.1", port), Answer).serve_forever()
"""

# All verbs are forked from one process that has imported everything, and wait for the same reading of the clock.
VERBS = """
import json, os, sys, time
import psutil
from noetl import settings
from noetl.ops import environment, ports, process, server, stack  # imported before the clock is looked at

def start(moment, answer):
    while time.monotonic() < moment:
        pass
    begun = time.monotonic()
    try:
        started = server.start(read)
        said = [begun, started.record.pid, started.already]
    except BaseException as error:
        said = [begun, 0, f"{type(error).__name__}: {error}"]
    os.write(answer, json.dumps(said).encode() + b"\\n")
    os._exit(0)

def serves(one):
    try:
        return one.status() != "zombie" and {"-m", sys.argv[3]} <= set(one.cmdline())
    except psutil.NoSuchProcess:
        return False

read = settings.read(os.environ)
for _ in range(int(sys.argv[1])):
    answers, answer = os.pipe()
    moment = time.monotonic() + 0.02
    children = []
    for _ in range(int(sys.argv[2])):
        pid = os.fork()
        if not pid:
            sys.executable = sys.argv[3]
            start(moment, answer)
        children.append(pid)
    os.close(answer)
    for pid in children:
        os.waitpid(pid, 0)
    with open(answers) as lines:
        said = [json.loads(line) for line in lines]
    alive = [one.pid for one in psutil.process_iter() if serves(one)]
    recorded = int((read.home / "noetl_server.pid").read_text())
    print(json.dumps([said, alive, recorded]), flush=True)
    for pid in alive:
        one = psutil.Process(pid)
        one.kill()
        process.wait_gone([one], 10)
"""


@pytest.mark.timeout(240)
def test_fifty_rounds_of_starts_in_the_same_millisecond(tmp_path: Path) -> None:
    server = tmp_path / "server"
    server.write_text(SERVER.format(python=sys.executable, root=str(Path(__file__).parents[3])))
    server.chmod(0o755)
    elsewhere = {"POSTGRES_HOST": "127.0.0.1", "NATS_URL": "nats://127.0.0.1:1", "NOETL_HOST": "127.0.0.1"}
    environ = {**os.environ, **elsewhere, "NOETL_HOME": str(tmp_path / "home"), "NOETL_PORT": str(ports.free())}
    words = [sys.executable, "-c", VERBS, str(ROUNDS), str(STARTS), str(server)]
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rounds = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rounds) == ROUNDS
    for said, alive, recorded in rounds:
        assert alive == [recorded], said
        assert [pid for _, pid, _ in said] == alive * STARTS, said
        assert sorted(already for _, _, already in said) == [False] + [True] * (STARTS - 1), said
    together = [max(begun for begun, _, _ in said) - min(begun for begun, _, _ in said) for said, _, _ in rounds]
    print(f"median distance of the starts: {sorted(together)[ROUNDS // 2] * 1000:.3f} ms")
