"""The systemd unit, as text and as systemd reads it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from noetl.errors import NoetlError, UsageError
from noetl.ops import unit as units
from noetl.settings import Settings


def test_the_unit_of_the_stack_and_of_its_parts(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "a 100% home")
    stack = units.plan(settings, {}, workers=3)
    assert stack.name == "noetl"
    assert " up --foreground --workers 3\n" in stack.text
    assert f"EnvironmentFile={tmp_path}/a 100%% home/noetl.env\n" in stack.text
    assert " server start --init-db --foreground\n" in units.plan(settings, {}, "server").text
    worker = units.plan(settings, {}, "worker", name="gpu")
    assert (worker.name, "--name gpu" in worker.text) == ("noetl-worker-gpu", True)
    with pytest.raises(UsageError, match="is no service"):
        units.plan(settings, {}, "database")


def test_secrets_are_in_the_private_file_alone(tmp_path: Path) -> None:
    environ = {"POSTGRES_PASSWORD": 'a "$b\\', "CITY": "Oslo", "OTHER": "x", "NOETL_PLAYBOOK_ENV": "CITY", "PATH": "/bin"}
    unit = units.plan(Settings(home=tmp_path), environ)
    assert "$b" not in unit.text
    assert unit.environment.splitlines() == [
        'CITY="Oslo"',
        f'NOETL_HOME="{tmp_path}"',
        'NOETL_PLAYBOOK_ENV="CITY"',
        'PATH="/bin"',
        'POSTGRES_PASSWORD="a \\"\\$b\\\\"',
    ]
    with pytest.raises(UsageError, match="NOETL_X has more than one line"):
        units.environment(Settings(home=tmp_path), {"NOETL_X": "a\nb"})


def test_a_release_is_called_by_the_link_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "current").mkdir()
    monkeypatch.setattr("sys.prefix", str(tmp_path / "releases" / "1.0"))
    assert units.command(tmp_path) == [str(tmp_path / "current" / "bin" / "noetl")]


def test_systemd_understands_it(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("LOUD SKIP: no systemd-analyze here")
    home = tmp_path / "a home"
    unit = units.plan(Settings(home=home), {"NOETL_PORT": "9"})
    home.mkdir()
    unit.environment_file.write_text(unit.environment)
    path = tmp_path / "noetl.service"
    path.write_text(unit.text)
    done = subprocess.run(
        ["systemd-analyze", "--user", "--man=no", "verify", str(path)],
        capture_output=True,
        text=True,
        check=False,
        env={"XDG_RUNTIME_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    assert "noetl.service" not in done.stderr, done.stderr


@pytest.mark.skipif(Path("/run/systemd/system").is_dir(), reason="systemd runs here")
def test_without_systemd_it_says_what_else_there_is(tmp_path: Path) -> None:
    unit = units.plan(Settings(home=tmp_path / "home"), {})
    with pytest.raises(NoetlError, match="systemd does not run"):
        units.install(unit, {"XDG_CONFIG_HOME": str(tmp_path / "config")})
    assert list(tmp_path.iterdir()) == []
