"""Installing noetl on a host that has nothing but sshd and Python, switching, rolling workers over, going back.

What noetl needs comes from a wheelhouse of empty wheels and a path to this environment: pip, environments, uploads and switching are real.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from acceptance_home import ROOT
from live import Live
from packaging.requirements import Requirement
from ssh_hosts import SSHD, Sandbox, Sshd, own_address

import noetl
from noetl.ops import release

pytestmark = [
    pytest.mark.skipif(SSHD is None, reason="LOUD SKIP: no sshd here; install openssh-server to test verbs on hosts"),
    pytest.mark.timeout(300),
]
HERE = noetl.__version__
NEXT = "0.999.0"
BASE = Path(sys._base_executable).resolve()  # type: ignore[attr-defined]


def empty_wheel(folder: Path, name: str, version: str, files: dict[str, str] | None = None) -> None:
    """Write a wheel that has a name, a version and little else."""
    stem = f"{name.replace('-', '_')}-{version}"
    content = {
        f"{stem}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{stem}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        **(files or {}),
    }
    record = "".join(f"{path},,\n" for path in content) + f"{stem}.dist-info/RECORD,,\n"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        for path, text in {**content, f"{stem}.dist-info/RECORD": record}.items():
            wheel.writestr(path, text)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of empty wheels for all that noetl needs; pip among them as it is, and the path to this environment."""
    folder = tmp_path_factory.mktemp("index")
    wanted = [Requirement(text) for text in importlib.metadata.requires("noetl") or []]
    for one in (one for one in wanted if not one.marker or "extra" not in str(one.marker)):
        path = {"environment_of_tests.pth": f"{Path(pytest.__file__).parents[1]}\n"} if one.name == "invoke" else None
        empty_wheel(folder, one.name, importlib.metadata.version(one.name), path)
    distribution = importlib.metadata.distribution("pip")
    with zipfile.ZipFile(folder / f"pip-{distribution.version}-py3-none-any.whl", "w") as wheel:
        for file in distribution.files or []:
            if not file.parts[0].startswith(".."):
                wheel.write(file.locate(), str(file))
    return folder


@pytest.fixture(scope="module")
def house(index: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A wheelhouse with noetl as it is built here."""
    folder = tmp_path_factory.mktemp("house") / "wheelhouse"
    shutil.copytree(index, folder)
    release.wheel("", "", folder)
    return str(folder)


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of the next version."""
    source = tmp_path_factory.mktemp("newer") / "source"
    unwanted = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "tests", "benchmarks", "docs")
    shutil.copytree(ROOT, source, ignore=unwanted)
    for name in ("pyproject.toml", "noetl/__init__.py"):
        file = source / name
        file.write_text(file.read_text().replace(f'ersion = "{HERE}"', f'ersion = "{NEXT}"').replace(f'__ = "{HERE}"', f'__ = "{NEXT}"'))
    return source


@pytest.fixture(scope="module")
def served(make_live: Callable[..., contextlib.AbstractContextManager[Live]]) -> Iterator[Live]:
    """A server that hosts can reach."""
    with make_live({"NOETL_HOST": "0.0.0.0"}) as one:
        one.server()
        yield one


@pytest.fixture
def sandbox(served: Live, tmp_path: Path, index: Path) -> Iterator[Sandbox]:
    """An operator whose pip knows the empty wheels alone, and two bare hosts."""
    if not own_address():
        pytest.skip("LOUD SKIP: this machine has no address but its loopback, where hosts could find a server")
    one = Sandbox(tmp_path)
    one.make_keys()
    url = f"http://{own_address()}:{served.a_server.url.rpartition(':')[2]}"
    one.more = {"NOETL_SERVER_URL": url, "NOETL_API_TOKEN": served.token.reveal(), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index)}
    file = one.home / ".noetl" / "hosts.yaml"
    file.parent.mkdir()
    file.write_text(json.dumps({"groups": {"workers": ["a", "b"]}, "hosts": {name: {"python": str(BASE)} for name in ("a", "b")}}))
    try:
        for name in ("a", "b"):
            one.alias(one.host(name))
        yield one
    finally:
        one.close()


def current(host: Sshd) -> str:
    """Return the version that a host uses."""
    return (host.home / ".noetl" / "current").readlink().name


def test_bundle_install_roll_and_go_back(sandbox: Sandbox, served: Live, newer: Path) -> None:
    a, b = sandbox.hosts
    assert "2 wheels" not in sandbox.ok("-H", "@workers", "host.bundle")
    house = sandbox.home / "wheelhouse"
    assert {"noetl", "pip", "invoke", "fabric"} <= {file.name.split("-")[0] for file in house.glob("*.whl")}
    del sandbox.more["PIP_NO_INDEX"], sandbox.more["PIP_FIND_LINKS"]
    said = sandbox.ok("-H", "@workers", "host.install", "--wheelhouse", "wheelhouse")
    assert f"a | noetl {HERE}: installed, in use" in said
    assert f"b | noetl {HERE}: was installed, in use" in sandbox.ok("-H", "b", "host.install", "--wheelhouse", "wheelhouse")
    assert (current(a), current(b)) == (HERE, HERE)
    assert "a | worker w: ready" in sandbox.ok("-H", "@workers", "worker.start", "--name", "w", "--pool", "heavy", "--max-workers", "3")

    before = {host.name: pid_of(host) for host in sandbox.hosts}
    sandbox.more |= {"PYTHONPATH": str(newer), "PIP_FIND_LINKS": str(house), "PIP_NO_INDEX": "1"}
    refused = sandbox.run("-H", "@workers", "worker.roll")
    assert refused.returncode == 1
    assert "nothing was started" in refused.stderr
    said = sandbox.ok("-H", "@workers", "host.install", "--wheelhouse", "wheelhouse")
    assert f"noetl {NEXT}: installed, in use, before it {HERE}" in said
    assert {host.name: pid_of(host) for host in sandbox.hosts} == before
    rolled = sandbox.ok("-H", "@workers", "worker.roll")
    assert f"b | worker w: back as {NEXT}, pid " in rolled
    ready = [row for row in served.api.get("/api/workers")["workers"] if row["status"] == "ready"]
    assert {row["pid"] for row in ready} == {pid_of(host) for host in sandbox.hosts}
    assert {(row["version"], row["pool"], row["slots"]) for row in ready} == {(NEXT, "heavy", 3)}
    assert not (a.home / ".noetl" / "rolling.json").exists()

    listed = json.loads(sandbox.ok("-H", "@workers", "host.list", "--json"))["hosts"]
    assert [(one["output"]["current"], one["output"]["versions"]) for one in listed] == [(NEXT, [HERE, NEXT])] * 2
    assert f"noetl {HERE}: in use again, before it {NEXT}" in sandbox.ok("-H", "a", "host.rollback")
    assert (current(a), current(b)) == (HERE, NEXT)
    again = sandbox.run("-H", "a", "host.rollback")
    assert again.returncode == 1
    assert "nothing was in use here before" in again.stderr


def pid_of(host: Sshd) -> int:
    """Return the PID of a host's worker `w`."""
    return int((host.home / ".noetl" / "noetl_worker_w.pid").read_text())


def test_a_roll_stops_at_the_first_worker_that_does_not_come_back_and_goes_on_there(sandbox: Sandbox, house: str) -> None:
    a, b = sandbox.hosts
    sandbox.ok("-H", "@workers", "host.install", "--wheelhouse", house)
    sandbox.ok("-H", "@workers", "worker.start", "--name", "w")
    before = pid_of(b)
    noetl_file = a.home / ".noetl" / "releases" / HERE / "bin" / "noetl"
    script = noetl_file.read_text()
    # The verb runs, but what it starts a worker with is not there.
    first, _, rest = script.partition("\n")
    noetl_file.write_text(f"{first}\nimport sys\nif 'worker.roll' in sys.argv: sys.executable = '/bin/false'\n{rest}")
    done = sandbox.run("-H", "@workers", "worker.roll")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "not run" in done.stdout
    assert pid_of(b) == before
    assert json.loads((a.home / ".noetl" / "rolling.json").read_text()).keys() == {"w"}
    noetl_file.write_text(script)
    sandbox.ok("-H", "@workers", "worker.roll")
    assert psutil.pid_exists(pid_of(a))
    assert pid_of(b) != before


def test_two_operators_install_at_once_and_a_full_disk_leaves_nothing_half(sandbox: Sandbox, house: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(lambda _: sandbox.ok("-H", "a", "host.install", "--wheelhouse", house), range(2)))
    assert sorted(": was installed, in use" in one for one in said) == [False, True]
    host = sandbox.hosts[1]
    host.stop()
    home = host.home / ".noetl"
    home.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(home)], capture_output=True, check=False).returncode:
        pytest.skip("LOUD SKIP: this user cannot mount a small disk")
    try:
        host.start()
        done = sandbox.run("-H", "b", "host.install", "--wheelhouse", house)
        assert done.returncode == 1
        assert "disk is full" in done.stderr or "No space left on device" in done.stderr
        assert not (home / "current").exists()
        assert not (home / "releases" / HERE).exists()
    finally:
        host.stop()
        subprocess.run(["umount", "-l", str(home)], check=True)
