"""Values: their layers, and what is said of wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from noetl.errors import UsageError
from noetl.ops import layers
from noetl.ops.layers import load_values
from noetl.ops.value_types import bytes_of
from noetl.ops.values import Pool, Section, Values


def refused(folder: Path, env: str | None = None, *sets: str) -> UsageError:
    """Return what is said of values that cannot be."""
    with pytest.raises(UsageError) as caught:
        load_values(folder, env, sets)
    return caught.value


def test_each_layer_lies_over_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text("namespace: base\nworker: {replicas: 2, slots: 4}\npools: {gpu: {slots: 1}}\n")
    (tmp_path / "staging.yaml").write_text("namespace: staging\nworker: {replicas: 3}\n")
    values = load_values(tmp_path, "staging", ["server.replicas=5", "pools.gpu.env.A=1"])
    assert (values.namespace, values.server.replicas, values.server.port) == ("staging", 5, 8082)
    assert {key: (pool.replicas, pool.slots) for key, pool in values.pools.items()} == {"default": (3, 4), "gpu": (3, 1)}
    assert values.pools["gpu"].env == {"A": "1"}
    assert load_values(tmp_path).namespace == "base"
    assert layers.environments(tmp_path) == ["staging"]


def test_a_pool_may_be_left_out(tmp_path: Path) -> None:
    assert list(load_values(tmp_path, None, ["pools.default=null", "pools.gpu.slots=2"]).pools) == ["gpu"]


def test_a_list_replaces_a_list(tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text("pull_secrets: [one, two]\n")
    assert load_values(tmp_path, None, ["pull_secrets=[three]"]).pull_secrets == ["three"]


@pytest.mark.parametrize(
    ("text", "line", "said", "hint"),
    [
        ("server:\n  replicsa: 2\n", 2, "there is no value server.replicsa", "did you mean server.replicas?"),
        ("namspace: x\n", 1, "there is no value namspace", "did you mean namespace?"),
        ("pools:\n  gpu:\n    slotz: 2\n", 3, "there is no value pools.gpu.slotz", "did you mean pools.gpu.slots?"),
        ("a: 1\n", 1, "there is no value a", "there are: namespace,"),
        ("server:\n  replicas: many\n", 2, "server.replicas is to be a whole number, not 'many'", ""),
        ("server:\n  port: 70000\n", 2, "server.port is wrong: input should be less than or equal to 65535, not 70000", ""),
        ("\nworker:\n  slots: 0\n", 3, "worker.slots is wrong: input should be greater than or equal to 1, not 0", ""),
        ("worker:\n  resources:\n    limits:\n      memory: lots\n", 4, "worker.resources.limits.memory is wrong", ""),
        ("server: 3\n", 1, "server is to be a mapping, not 3", ""),
        ("pools:\n  GPU: {}\n", 2, "pools.GPU is wrong", ""),
        ("pools:\n  a: {pool: x}\n  x: {}\n", 1, "pools has two entries for pool x", ""),
        ("server:\n  stop_seconds: 10\n", 2, "server.stop_seconds is 10, but endpoints_seconds and the drain take 15", ""),
        ("worker:\n  stop_seconds: 3\n", 2, "worker.stop_seconds is 3, but a worker's drain takes 10", ""),
        ("worker:\n  autoscaling: {min: 5, max: 2}\n", 2, "worker.autoscaling.min is 5, which is more than max, 2", ""),
        ("worker:\n  autoscaling: {min: 0}\n", 2, "worker.autoscaling.min is 0, which only kind keda can do", ""),
        ("env:\n  NOETL_API_TOKEN: hush\n", 2, "env.NOETL_API_TOKEN is a secret: give it by secret.keys.NOETL_API_TOKEN", ""),
        ("worker:\n  env:\n    NATS_URL: nats://hush@x\n", 3, "worker.env.NATS_URL is a secret", ""),
        ("nats:\n  url: nats://hush@example:4222\n", 2, "nats.url has credentials in it", ""),
        ("postgres:\n  host: db\n", 2, "postgres.host is set: secret.keys must say where to find POSTGRES_PASSWORD", ""),
        ("postgres:\n  user: me\n", 2, "postgres.user is for a PostgreSQL of your own: set postgres.host too", ""),
        ("namespace: a\nnamespace: b\n", 2, "namespace is written twice", ":1"),
        ("server: [\n", 2, "not YAML", ""),
        ("- a\n", 1, "values are a mapping", ""),
    ],
)
def test_a_wrong_value_is_named_with_file_and_line(tmp_path: Path, text: str, line: int, said: str, hint: str) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(text)
    error = refused(tmp_path)
    assert error.message.startswith(f"{file}:{line}: {said}"), error.message
    assert hint in error.hint
    assert error.exit_code == 2
    assert "hush" not in str(error)


def test_every_wrong_value_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text("worker:\n  slots: 0\nserver:\n  replicas: 0\npools: {gpu: {}, cpu: {}}\n")
    assert [line.split(" ")[1] for line in refused(tmp_path).message.splitlines()] == ["server.replicas", "worker.slots"]


def test_the_layer_that_is_wrong_is_named(tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text("server: {replicas: 2}\n")
    (tmp_path / "staging.yaml").write_text("\nserver: {replicas: none}\n")
    assert refused(tmp_path, "staging").message.startswith(f"{tmp_path}/staging.yaml:2: server.replicas")
    assert refused(tmp_path, None, "server.replicas=x").message.startswith("--set server.replicas: server.replicas")
    assert refused(tmp_path, None, "server.replicas").hint == "--set worker.replicas=3"
    (tmp_path / "values.yaml").write_bytes(b"\xff\xfe")
    assert "not YAML" in refused(tmp_path).message


def test_an_environment_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "staging.yaml").write_text("{}")
    assert refused(tmp_path, "stagign").hint == "did you mean staging?"
    assert refused(tmp_path, "xyz").hint == "there are: staging"
    for name in ("values", "../staging", "", "."):
        assert "there is no environment" in refused(tmp_path, name).message


def test_the_defaults_say_every_value_and_are_values() -> None:
    values = load_values(Path("nowhere"))
    missing = [name for name in _names(Values) if name not in layers.as_text(values)]
    assert missing == []
    written = layers.yaml.safe_load(layers.defaults_text())
    _same_keys(Values, written, "")
    _same_keys(Pool, written["worker"], "worker.")


def _names(section: type[Section]) -> list[str]:
    return list(section.model_fields)


def _same_keys(section: type[Section], written: dict[str, object], where: str) -> None:
    assert set(written) == set(section.model_fields), where
    for name, field in section.model_fields.items():
        below = written[name]
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section) and isinstance(below, dict):
            _same_keys(field.annotation, below, f"{where}{name}.")


@pytest.mark.parametrize(("size", "number"), [("1Gi", 2**30), ("1.5Ki", 1536), ("10M", 10**7), ("5", 5), ("2k", 2000)])
def test_sizes_are_bytes(size: str, number: int) -> None:
    assert bytes_of(size) == number


def test_secrets_may_have_dots_in_their_names_and_be_long() -> None:
    name = "a" * 100 + ".example.com"
    values = load_values(Path("nowhere"), None, [f"secret.keys.NATS_URL={{name: {name}, key: url}}", f"worker.env_from_secrets=[{name}]"])
    assert values.pools["default"].env_from_secrets == [name]
