"""A verb on a host that somebody elsewhere waits for: its environment out of a file, its end with the connection's."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from pathlib import Path

import noetl
from noetl import home, settings
from noetl.errors import NoetlError, Unauthorized, Unavailable
from noetl.ops.client import Client

_PATIENCE = 5.0
_UNREAD = 600.0


def begin(letter: Path) -> str:
    """Take over the letter's environment, delete it, and try the server where it says so; return a warning about its version.

    From here on, the end of the standard input interrupts this process as Ctrl-C would: whoever waited for it has gone.
    """
    document = json.loads(letter.read_text())
    letter.unlink()
    _clear(letter.parent)
    os.environ.update({str(name): str(value) for name, value in document["environ"].items()})
    threading.Thread(target=_interrupt_at_end, daemon=True).start()
    return reach() if document["reach"] else ""


def reach() -> str:
    """Try the server that the environment names, token included; return a warning where its version is another."""
    read = settings.read(os.environ)
    url = read.server_url or ""
    client = Client(url, home.known_token(read), timeout=_PATIENCE)
    try:
        version = client.get("/health").get("version")
        client.get("/api/workers")
    except Unauthorized as error:
        raise Unauthorized(f"the server at {url} refuses the token", "set NOETL_API_TOKEN to the server's where you type") from error
    except Unavailable as error:
        message = f"this host does not reach the server at {url}: {error.message}"
        raise Unavailable(message, "set NOETL_SERVER_URL to an address that it reaches, or open the way to it") from error
    except (AttributeError, ValueError) as error:
        raise NoetlError(f"what answers at {url} is no noetl server", "set NOETL_SERVER_URL") from error
    return "" if version == noetl.__version__ else f"the server is {version}, this host's noetl {noetl.__version__}"


def _clear(folder: Path) -> None:
    """Delete letters that nobody read, because their connection broke before."""
    for old in folder.iterdir():
        with contextlib.suppress(OSError):
            if old.stat().st_mtime < time.time() - _UNREAD:
                old.unlink()


def _interrupt_at_end() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGINT)
