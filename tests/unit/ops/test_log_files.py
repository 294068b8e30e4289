"""Log files: rotated under their writers' feet, read from the end, since a moment, and on."""

from __future__ import annotations

import threading
from itertools import islice
from pathlib import Path

import pytest

from noetl.errors import NotFound, UsageError
from noetl.ops import logs, moments
from noetl.rotation import older, rotate, rotate_all


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "logs" / "server.log"
    path.parent.mkdir()
    return path


def test_a_full_log_is_emptied_and_its_writer_goes_on(log: Path) -> None:
    with log.open("ab", buffering=0) as writer:
        for round_ in range(4):
            writer.write(f"line {round_}\n".encode() * 10)
            assert rotate(log, 70, 2)
            assert not rotate(log, 70, 2)
        writer.write(b"on\n")
    assert log.read_text() == "on\n"
    assert [older(log, number).read_text()[:7] for number in (1, 2)] == ["line 3\n", "line 2\n"]
    assert sorted(path.name for path in log.parent.iterdir()) == ["server.log", "server.log.1", "server.log.2"]


def test_two_who_rotate_at_once_rotate_once(log: Path) -> None:
    log.write_text("x" * 100 + "\n")
    threads = [threading.Thread(target=rotate_all, args=(log.parent, 50, 3)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(older(log, 1).read_text()) == 101
    assert not older(log, 2).exists()


def test_the_last_lines_reach_into_older_files(log: Path) -> None:
    for number in range(3):
        log.write_text("".join(f"{number}{line}\n" for line in range(3)))
        rotate(log, 1, 5)
    log.write_text("30\n31\n")
    assert logs.last(log, 1) == ["31"]
    assert logs.last(log, 4) == ["21", "22", "30", "31"]
    assert len(logs.last(log, 100)) == 11
    assert logs.last(log, 0) == []
    assert logs.last(log, 1, end=3) == ["30"]


def test_a_line_of_any_length_is_whole(log: Path) -> None:
    log.write_text("first\n" + "x" * 300_000 + "\n")
    assert [len(line) for line in logs.last(log, 2)] == [5, 300_000]


def test_follow_misses_no_line_through_rotation(log: Path) -> None:
    log.write_text("before\n")
    with log.open("ab", buffering=0) as writer:
        lines = logs.follow(lambda: logs.find(log.parent.parent), pause=0.001)
        writer.write(b"one\nhal")
        assert next(lines) == (log, "one")
        writer.write(b"f\nseen by nobody yet\n")
        rotate(log, 1, 3)
        # More than there was before: its size alone would not tell that the file is another.
        writer.write(b"two\n" * 20)
        assert [line for _, line in islice(lines, 4)] == ["half", "seen by nobody yet", "two", "two"]
    with pytest.raises(NotFound, match="these have one"):
        logs.find(log.parent.parent, "nobody")


def test_follow_finds_new_files_and_renamed_ones(log: Path) -> None:
    log.write_text("")
    lines = logs.follow(lambda: logs.find(log.parent.parent), pause=0.001)
    other = log.with_name("worker_a.log")
    other.write_text("hello\n")
    assert next(lines) == (other, "hello")
    log.rename(older(log, 1))
    log.write_text("four\n")
    assert next(lines) == (log, "four")
    log.write_text("")
    with log.open("a") as file:
        file.write("5\n")
    assert next(lines) == (log, "5")


def test_since_a_moment_in_every_services_writing(log: Path) -> None:
    older(log, 1).write_text("2026-01-31 08:00:00,000 INFO    noetl: long ago\n2026-01-31 08:59:59,000 INFO    noetl: just before\n")
    log.write_text(
        "2026-01-31 09:00:01,000 INFO    noetl: text\n"
        "Traceback of it\n"
        '{"time": "2026-01-31T09:00:02.000+00:00", "level": "INFO"}\n'
        "[7] 2026/01/31 09:00:03.000000 [INF] nats\n"
        "2026-01-31 09:00:04.123 UTC [9] LOG:  postgres\n"
    )
    nine = moments.moment("2026-01-31T09:00:00Z", 0)
    assert list(logs.since(log, nine)) == log.read_text().splitlines()
    assert len(list(logs.since(log, nine - 1))) == 6
    assert len(list(logs.since(log, nine + 3))) == 2
    assert list(logs.since(log, nine + 60)) == []


def test_moments() -> None:
    assert moments.moment("10m", 1000) == 400
    assert moments.moment("1d", 100_000) == 13_600
    assert moments.moment("1970-01-01T00:01:00+00:00", 0) == 60
    with pytest.raises(UsageError, match="is no time"):
        moments.moment("yesterday", 0)
