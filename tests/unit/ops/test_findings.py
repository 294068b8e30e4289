"""Checks side by side: one that hangs or breaks leaves the others their answers."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from noetl.ops import check_machine, check_services, doctor
from noetl.ops.doctor import Check
from noetl.ops.finding import BAD, NOTE, OK, WARN, Finding
from noetl.settings import Settings
from noetl.store.examine import Examined


def test_one_that_hangs_and_one_that_breaks(tmp_path: Path) -> None:
    never = threading.Event()

    def hang(_settings: Settings) -> list[Finding]:
        never.wait(60)
        return []

    def fail(_settings: Settings) -> list[Finding]:
        raise ZeroDivisionError("who would have thought")

    def fine(_settings: Settings) -> list[Finding]:
        return [Finding("fine", OK, "well")]

    try:
        found = doctor.examine(Settings(home=tmp_path), [[Check("hangs", hang, WARN), Check("fails", fail), Check("fine", fine)]], 0.2)
    finally:
        never.set()
    assert [(one.name, one.state) for one in found] == [("hangs", WARN), ("fails", BAD), ("fine", OK)]
    assert "no answer within 0.2 s" in found[0].text
    assert "who would have thought" in found[1].text
    assert not doctor.well(found)
    assert doctor.well(found[::2])


def test_libraries_that_share_modules_are_imported_one_after_another() -> None:
    names = [{check.name for check in checks} for checks in doctor.ROUNDS]
    assert {"docker"} in names and {"kubernetes"} in names


def test_a_line_each_and_what_to_type_under_it() -> None:
    found = [Finding("disk", BAD, "full", "make room"), Finding("database", OK, "there", ms=0.5)]
    assert doctor.text(found, lambda word, code: f"<{code}>{word}") == (
        "<31>bad   disk      full\n                make room\n<32>ok    database  there (0.5 ms)"
    )


@pytest.mark.parametrize(("ahead", "state"), [(0.2, OK), (-0.9, OK), (1.5, WARN), (-30.0, BAD)])
def test_clocks(ahead: float, state: str) -> None:
    found = check_services._clock(Examined("18.0", 1.0, ahead, True, (), (), (), "0001"))
    assert found.state == state
    assert state == OK or "behind" in found.text or "ahead of" in found.text


@pytest.mark.parametrize(
    ("made", "missing", "unknown", "changed", "state"),
    [
        (True, (), (), (), OK),
        (False, ("0001",), (), (), WARN),
        (True, ("0002",), (), (), BAD),
        (True, (), ("0009",), (), BAD),
        (True, (), (), ("0001",), BAD),
    ],
)
def test_schemas(made: bool, missing: tuple[str, ...], unknown: tuple[str, ...], changed: tuple[str, ...], state: str) -> None:
    found = check_services._schema(Examined("18.0", 1.0, 0.0, made, missing, unknown, changed, "0001"))
    assert found.state == state
    assert bool(found.hint) == (state != OK)


def test_secrets_that_others_may_read(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    token = tmp_path / "token"
    token.write_text("secret")
    token.chmod(0o640)
    (found,) = check_machine.home(settings)
    assert (found.state, found.hint) == (BAD, f"chmod 600 {token}")
    token.chmod(0o600)
    assert check_machine.home(settings)[0].state == OK
    tmp_path.chmod(0o777)
    assert check_machine.home(settings)[0].hint == f"chmod o-w {tmp_path}"


def test_a_pid_file_of_a_process_that_is_gone_is_left_to_ps(tmp_path: Path) -> None:
    (tmp_path / "noetl_server.pid").write_text("999999999\n")
    (found,) = check_machine.pid_files(Settings(home=tmp_path))
    assert (found.state, found.hint) == (NOTE, "remove them: noetl ps")
    assert "noetl_server.pid" in found.text


@pytest.mark.parametrize(
    ("configured", "plain"),
    [
        # pyenv's, pyenv's with PYTHON_CONFIGURE_OPTS, Debian's, uv's, and one that tells nothing.
        ({"CONFIG_ARGS": "'--prefix=/p' '--enable-shared'", "PGO_PROF_USE_FLAG": "-fprofile-use -fprofile-correction"}, True),
        ({"CONFIG_ARGS": "'--prefix=/p' '--enable-optimizations' '--with-lto'", "PGO_PROF_USE_FLAG": "-fprofile-use"}, False),
        ({"CONFIG_ARGS": "'--enable-shared' '--prefix=/usr' '--without-ensurepip'", "PGO_PROF_USE_FLAG": ""}, False),
        (
            {"CONFIG_ARGS": "'--enable-optimizations=yes' '--enable-ipv6'", "PGO_PROF_USE_FLAG": "-fprofile-instr-use=code.profclangd"},
            False,
        ),
        ({"CONFIG_ARGS": None}, False),
    ],
)
def test_a_python_that_was_built_without_optimizing_is_told(
    configured: dict[str, object], plain: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sysconfig.get_config_vars", lambda: configured)
    found = check_machine.versions(Settings(home=tmp_path))
    assert [(one.name, one.state) for one in found] == [("noetl", OK), *([("python", NOTE)] if plain else [])]
    assert not plain or "--enable-optimizations" in found[-1].hint
