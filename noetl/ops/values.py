"""What the manifests are rendered from: the values' names, types and bounds."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from noetl.ops.value_types import Count, Name, ObjectName, OptionalName, PoolKey, Port, Quantity, Seconds, Size, Text, Variable
from noetl.playbook.bounds import POOL

DRAIN_SECONDS = 10
"""What a server or a worker takes at most to end by itself once it is told to."""
FROM_SECRET = {
    "NOETL_API_TOKEN": "",
    "NOETL_ENCRYPTION_KEY": "",
    "POSTGRES_PASSWORD": "",
    "PLAYBOOKS_POSTGRES_PASSWORD": "",
    "NATS_URL": ", or nats.url where it has no credentials",
}


class Section(BaseModel):
    """A mapping of values; a key that is not one of its fields is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Resources(Section):
    """What a container is given: at least the requests, at most the limits."""

    requests: dict[str, Quantity | None]
    limits: dict[str, Quantity | None]


class Placement(Section):
    """Where pods run, as Kubernetes writes it."""

    node_selector: dict[str, Text]
    tolerations: list[dict[str, Any]]
    affinity: dict[str, Any]


class Variables(Section):
    """Settings of servers and workers, by the environment variables' meaning."""

    log_format: Literal["text", "json"]
    lease_seconds: Annotated[int, Field(ge=1)]
    step_timeout: Annotated[int, Field(ge=1)]
    step_memory: Size
    max_result: Size
    max_request: Size


class Key(Section):
    """A key of a Secret that is there already."""

    name: ObjectName
    key: str


class Secrets(Section):
    """Where secret values come from."""

    existing: OptionalName
    keys: dict[
        Literal[
            "NOETL_API_TOKEN",
            "NOETL_ENCRYPTION_KEY",
            "POSTGRES_PASSWORD",
            "PLAYBOOKS_POSTGRES_PASSWORD",
            "POSTGRES_SUPERUSER_PASSWORD",
            "NATS_TOKEN",
            "NATS_URL",
        ],
        Key,
    ]


class Workload(Placement):
    """What servers and workers have in common."""

    replicas: Count
    resources: Resources
    env: dict[Variable, Text]
    env_from_secrets: list[ObjectName]
    annotations: dict[str, Text]
    stop_seconds: Seconds
    max_unavailable: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _no_secrets(self) -> Self:
        refuse_secrets(self.env)
        return self


class Service(Section):
    """How the server is reached."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"]
    port: Port
    annotations: dict[str, Text]


class Server(Workload):
    """The servers."""

    replicas: Annotated[int, Field(ge=1, le=1000)]
    port: Port
    service: Service
    endpoints_seconds: Seconds

    @property
    def leave_limit(self) -> int:
        """How many seconds it goes on serving at most once it is to stop."""
        return self.stop_seconds - DRAIN_SECONDS

    @model_validator(mode="after")
    def _time_to_drain(self) -> Self:
        if self.stop_seconds < self.endpoints_seconds + DRAIN_SECONDS:
            raise ValueError(
                f"stop_seconds is {self.stop_seconds}, but endpoints_seconds and the drain take {self.endpoints_seconds + DRAIN_SECONDS}"
            )
        return self


class Autoscaling(Section):
    """How a pool grows with the commands that wait in it."""

    enabled: bool
    kind: Literal["hpa", "keda"]
    min: Count
    max: Annotated[int, Field(ge=1, le=1000)]
    waiting_per_worker: Annotated[int, Field(ge=1)]
    quiet_seconds: Seconds
    trigger: Literal["postgres", "nats"]

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min is {self.min}, which is more than max, {self.max}")
        if self.kind == "hpa" and self.min == 0:
            raise ValueError("min is 0, which only kind keda can do")
        return self


class Jobs(Section):
    """The right to run the steps of kind `container` and `script` as Kubernetes Jobs."""

    enabled: bool
    namespace: OptionalName


class Pool(Workload):
    """The workers of a pool."""

    pool: Annotated[str, Field(pattern=f"^({POOL.pattern})?$")]
    slots: Annotated[int, Field(ge=1, le=1000)]
    scratch: Size
    autoscaling: Autoscaling
    jobs: Jobs

    @model_validator(mode="after")
    def _time_to_drain(self) -> Self:
        if self.stop_seconds < DRAIN_SECONDS:
            raise ValueError(f"stop_seconds is {self.stop_seconds}, but a worker's drain takes {DRAIN_SECONDS}")
        return self


class Storage(Section):
    """A volume that outlives its pod."""

    size: Quantity
    class_name: OptionalName
    chown: bool


class Stateful(Placement):
    """What PostgreSQL and NATS have in common where they are made here."""

    image: str
    resources: Resources
    storage: Storage
    user_id: Annotated[int, Field(ge=1)]
    stop_seconds: Seconds


class Playbooks(Section):
    """The database that a postgres step uses which names no other."""

    database: str
    user: str


class Postgres(Stateful):
    """PostgreSQL: made here, or one that is there already."""

    host: str
    port: Port
    database: str
    user: str
    playbooks: Playbooks | None
    settings: dict[str, Text]

    @model_validator(mode="after")
    def _own_names(self) -> Self:
        for name, ours in (("database", "noetl"), ("user", "noetl"), ("port", 5432)):
            if not self.host and getattr(self, name) != ours:
                raise ValueError(f"{name} is for a PostgreSQL of your own: set postgres.host too, or leave it at {ours}")
        if not self.host and self.playbooks != Playbooks(database="playbooks", user="playbooks"):
            raise ValueError("playbooks is for a PostgreSQL of your own: set postgres.host too, or leave its names at playbooks")
        return self


class Nats(Stateful):
    """NATS: made here, or one that is there already."""

    url: Annotated[str, Field(pattern=r"^((nats|tls|ws|wss)://.+)?$")]
    url_in_secret: bool

    @model_validator(mode="after")
    def _no_credentials(self) -> Self:
        if "@" in self.url:
            raise ValueError("url has credentials in it: put the whole URL into a Secret as NATS_URL and set url_in_secret: true")
        if self.url and self.url_in_secret:
            raise ValueError("url and url_in_secret exclude each other: a URL without credentials, or a Secret's key NATS_URL")
        return self

    @property
    def external(self) -> bool:
        """Whether it is one that is there already."""
        return bool(self.url) or self.url_in_secret


class NetworkPolicy(Section):
    """Who may connect to what."""

    enabled: bool
    server_from: list[dict[str, Any]]


class Monitoring(Section):
    """What Prometheus' operator and Grafana pick up."""

    service_monitor: bool
    interval: Annotated[str, Field(pattern=r"^[0-9]+(ms|s|m)$")]
    dashboard: bool
    labels: dict[str, Text]


class Values(Section):
    """Everything that the manifests are rendered from, but the image, the platform and the cluster's version."""

    namespace: Name
    create_namespace: bool
    pull_secrets: list[ObjectName]
    run_as_user: Annotated[int, Field(ge=1)]
    settings: Variables
    env: dict[Variable, Text]
    secret: Secrets
    server: Server
    worker: Pool
    pools: Annotated[dict[PoolKey, Pool], Field(min_length=1)]
    postgres: Postgres
    nats: Nats
    network_policy: NetworkPolicy
    monitoring: Monitoring

    @model_validator(mode="after")
    def _fits(self) -> Self:
        refuse_secrets(self.env)
        if self.postgres.host and not self.secret.existing:
            wanted = ["POSTGRES_PASSWORD"] + (["PLAYBOOKS_POSTGRES_PASSWORD"] if self.postgres.playbooks else [])
            if missing := [key for key in wanted if key not in self.secret.keys]:
                raise ValueError(f"postgres.host is set: secret.keys must say where to find {' and '.join(missing)} (or secret.existing)")
        if self.nats.url_in_secret and not self.secret.existing and "NATS_URL" not in self.secret.keys:
            raise ValueError("nats.url_in_secret is set: secret.keys must say where to find NATS_URL (or secret.existing)")
        names = [self.pool_name(key) for key in self.pools]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"pools has two entries for pool {twice[0]}: give one another `pool`")
        return self

    def pool_name(self, key: str) -> str:
        """Return the pool that the workers of an entry of `pools` work for."""
        return self.pools[key].pool or key


def refuse_secrets(env: dict[str, str]) -> None:
    """Refuse secret values among the plain variables, which everybody who sees the manifests can read."""
    for name, instead in FROM_SECRET.items():
        if name in env:
            raise ValueError(f"env.{name} is a secret: give it by secret.keys.{name} or secret.existing{instead}")
