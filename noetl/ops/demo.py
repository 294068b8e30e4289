"""The demonstration: the examples registered, the main one run on the embedded stack, and nothing left behind."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

from noetl.ops import examples, run, services
from noetl.ops.client import Client
from noetl.ops.process import Progress, quiet
from noetl.ops.run import Ended
from noetl.settings import Settings


def demo(settings: Settings, output: IO[str], *, keep: bool = False, colour: bool = True, progress: Progress = quiet) -> Ended:
    """Run the main example and return how it ended; what was started for it is stopped again unless `keep`."""
    texts = {file: run.read_playbook(str(file))[0] for file in examples.playbooks()}
    started = services.Starting(settings, progress)
    try:
        client = started.ensure()
        entries = {file.name: run.register(client, text) for file, text in texts.items()}
        progress(f"registered {len(entries)} examples")
        execution_id = run.execute(client, entries[examples.MAIN], payload(client, examples.examples_dir()))
        return run.watch(client, execution_id, output, colour=colour)
    finally:
        if not keep:
            started.undo()


def payload(client: Client, folder: Path) -> dict[str, Any]:
    """Return what the main example is given: where its data is, and the server whose API it calls."""
    return {"data_dir": str(folder / "data"), "server_url": client.url}
