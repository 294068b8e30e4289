"""The package as it is built and installed, away from the checkout."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from acceptance_home import ROOT, Operator


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as its wheel installs it; what it needs is in this environment already."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    unwanted = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "tests", "benchmarks")
    shutil.copytree(ROOT, source, ignore=unwanted)
    _run("build", "--wheel", "--no-isolation", "--outdir", folder, source)
    (wheel,) = folder.glob("*.whl")
    _run("pip", "install", "--quiet", "--no-index", "--no-deps", "--target", folder / "installed", wheel)
    return folder / "installed"


def _run(*words: str | Path) -> None:
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"


def test_the_wheel_has_what_it_needs(installed: Path) -> None:
    package = installed / "noetl"
    for file in ("py.typed", "store/queries.sql", "examples/demo.yaml", "examples/data/flights.csv.gz"):
        assert (package / file).exists(), file
    assert {path.name for path in installed.iterdir()} - {"bin"} == {"noetl", next(installed.glob("*.dist-info")).name}
    assert sorted(path.relative_to(package) for path in package.rglob("*.sql")) == sorted(
        path.relative_to(ROOT / "noetl") for path in (ROOT / "noetl").rglob("*.sql")
    )
    templates = sorted(path.name for path in (ROOT / "templates" / "k8s").iterdir())
    assert sorted(path.name for path in (package / "templates" / "k8s").iterdir()) == templates


def test_the_installed_package_renders_manifests(installed: Path, operator: Operator) -> None:
    operator.more = {"PYTHONPATH": str(installed)}
    (operator.folder / "k8s").mkdir()
    (operator.folder / "k8s" / "staging.yaml").write_text("namespace: noetl-staging\n")
    words = ["k8s", "render", "--image", "noetl:1", "--env", "staging"]
    rendered = operator.ok(*words, "--set", "pools.gpu.slots=1")
    kinds = [document["kind"] for document in yaml.safe_load_all(rendered)]
    assert (kinds[0], kinds.count("Deployment"), kinds.count("StatefulSet")) == ("Namespace", 3, 2)
    assert "namespace: noetl-staging" in rendered
    assert json.loads(operator.ok(*words, "--set", "pools.gpu.slots=1", "--json"))["items"] == list(yaml.safe_load_all(rendered))
    assert json.loads(operator.ok("k8s", "values", "--env", "staging", "--json"))["namespace"] == "noetl-staging"
    files = json.loads(operator.ok(*words, "-o", "out", "--json"))["files"]
    assert [str(path.relative_to(operator.folder)) for path in sorted((operator.folder / "out").iterdir())] == files
    said = operator.run(*words, "--set", "pools.gpu.slotz=1")
    assert said.returncode == 2
    assert "did you mean pools.gpu.slots?" in said.stderr


def test_the_installed_package_runs_a_file_and_its_demonstration(installed: Path, operator: Operator) -> None:
    operator.more = {"PYTHONPATH": str(installed)}
    where = [sys.executable, "-c", "from noetl.ops import examples; print(examples.examples_dir())"]
    said = subprocess.run(where, cwd=operator.folder, env=operator.environ, capture_output=True, text=True, check=True).stdout
    assert Path(said.strip()) == installed / "noetl" / "examples"
    file = operator.folder / "mine.yaml"
    file.write_text((ROOT / "examples" / "hello.yaml").read_text())
    assert operator.ok("run", str(file), "--set", "name=Ada").endswith("hello Ada\n")
    ended = json.loads(operator.ok("demo", "--json"))
    assert (ended["status"], ended["result"]["destinations"]) == ("COMPLETED", 78)
