from __future__ import annotations

import pytest

from noetl.worker.supervisor import describe, scrubbed


def test_the_environment_is_scrubbed() -> None:
    environ = {"HOME": "/h", "PATH": "/p", "NOETL_API_TOKEN": "t", "POSTGRES_PASSWORD": "p", "NATS_URL": "n", "PGPASSWORD": "p"}
    assert scrubbed(environ) == {"HOME": "/h", "PATH": "/p"}


@pytest.mark.parametrize(
    ("status", "said"), [(3 << 8, "exit code 3"), (11, "SIGSEGV"), (9, "out of memory"), (None, "could not be started")]
)
def test_ends_in_words(status: int | None, said: str) -> None:
    assert said in describe(status)
