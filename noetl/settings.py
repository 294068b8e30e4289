"""Settings, read once from the environment at the edge of a process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from noetl.errors import UsageError


class Secret(str):
    """Text that prints as `***`; `reveal()` is the only way to read it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return "***"

    def reveal(self) -> str:
        """Return the text itself."""
        return str.__str__(self)


LAST_PORT = 65535


@dataclass(frozen=True)
class Postgres:
    """Where the server's database is. `sockets`: a folder in which PostgreSQL may have a socket, which is tried first."""

    host: str
    port: int
    database: str
    user: str
    password: Secret
    sockets: str = ""


@dataclass(frozen=True)
class Settings:
    """What the environment says; `None` where it says nothing and the embedded stack decides."""

    home: Path
    host: str = "0.0.0.0"  # noqa: S104 - the documented default: a server is there to be reached
    port: int = 8082
    server_url: str | None = None
    postgres: Postgres | None = None
    playbooks: Postgres | None = None
    nats_url: Secret | None = None
    api_token: Secret | None = None
    encryption_key: Secret | None = None
    lease_seconds: float = 15.0
    leave_seconds: float = 0.0
    leave_limit: float = 60.0
    step_timeout: float = 3600.0
    step_memory: int = 2 * 1024**3
    max_workers: int = 16
    max_result: int = 256 * 1024**2
    max_request: int = 16 * 1024**2
    log_format: str = "text"
    log_size: int = 10 * 1024**2
    log_count: int = 5
    playbook_env: Mapping[str, str] = field(default_factory=dict)


def read(environ: Mapping[str, str]) -> Settings:
    """Read the settings; a value that cannot be read raises UsageError naming its variable."""
    postgres = None
    if environ.get("POSTGRES_HOST"):
        postgres = Postgres(
            host=environ["POSTGRES_HOST"],
            port=_port(environ, "POSTGRES_PORT", 5432),
            database=environ.get("POSTGRES_DB", "noetl"),
            user=environ.get("POSTGRES_USER", "noetl"),
            password=Secret(environ.get("POSTGRES_PASSWORD", "")),
        )
    playbooks = None
    if environ.get("PLAYBOOKS_POSTGRES_HOST"):
        playbooks = Postgres(
            host=environ["PLAYBOOKS_POSTGRES_HOST"],
            port=_port(environ, "PLAYBOOKS_POSTGRES_PORT", 5432),
            database=environ.get("PLAYBOOKS_POSTGRES_DB", "playbooks"),
            user=environ.get("PLAYBOOKS_POSTGRES_USER", "playbooks"),
            password=Secret(environ.get("PLAYBOOKS_POSTGRES_PASSWORD", "")),
        )
    log_format = environ.get("NOETL_LOG_FORMAT", "text")
    if log_format not in ("text", "json"):
        raise UsageError(f"NOETL_LOG_FORMAT is {log_format!r}", "set it to text or json")
    return Settings(
        home=Path(environ.get("NOETL_HOME") or Path(environ.get("HOME", "~")).expanduser() / ".noetl").absolute(),
        host=environ.get("NOETL_HOST") or Settings.host,
        port=_port(environ, "NOETL_PORT", Settings.port),
        server_url=environ.get("NOETL_SERVER_URL") or None,
        postgres=postgres,
        playbooks=playbooks,
        nats_url=_secret(environ, "NATS_URL"),
        api_token=_token(environ, "NOETL_API_TOKEN"),
        encryption_key=_secret(environ, "NOETL_ENCRYPTION_KEY"),
        lease_seconds=_number(environ, "NOETL_LEASE_SECONDS", Settings.lease_seconds),
        leave_seconds=_number(environ, "NOETL_LEAVE_SECONDS", Settings.leave_seconds),
        leave_limit=_number(environ, "NOETL_LEAVE_LIMIT", Settings.leave_limit),
        step_timeout=_number(environ, "NOETL_STEP_TIMEOUT", Settings.step_timeout),
        step_memory=_integer(environ, "NOETL_STEP_MEMORY", Settings.step_memory),
        max_workers=_integer(environ, "NOETL_MAX_WORKERS", Settings.max_workers),
        max_result=_integer(environ, "NOETL_MAX_RESULT", Settings.max_result),
        max_request=_integer(environ, "NOETL_MAX_REQUEST", Settings.max_request),
        log_format=log_format,
        log_size=_integer(environ, "NOETL_LOG_SIZE", Settings.log_size),
        log_count=_integer(environ, "NOETL_LOG_COUNT", Settings.log_count),
        playbook_env=playbook_environment(environ),
    )


def playbook_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that templates see as `env`: those that NOETL_PLAYBOOK_ENV names (commas), and NOETL_VAR_* ones."""
    named = {name.strip() for name in environ.get("NOETL_PLAYBOOK_ENV", "").split(",") if name.strip()}
    return {name: value for name, value in environ.items() if name in named or name.startswith("NOETL_VAR_")}


def _secret(environ: Mapping[str, str], name: str) -> Secret | None:
    # What was read out of a file, or mounted by a cluster, often ends with a line's end.
    text = environ.get(name, "").strip()
    return Secret(text) if text else None


def _token(environ: Mapping[str, str], name: str) -> Secret | None:
    token = _secret(environ, name)
    if token is not None and not all("!" <= letter <= "~" for letter in token.reveal()):
        raise UsageError(
            f"{name} has a character that a request's header cannot carry", "use letters, digits and signs of ASCII, no spaces"
        )
    return token


def _port(environ: Mapping[str, str], name: str, default: int) -> int:
    port = _integer(environ, name, default)
    if port > LAST_PORT:
        raise UsageError(f"{name} is {port}, which is no port", f"ports go from 1 to {LAST_PORT}")
    return port


def _number(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name)
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number < float("inf"):
        raise UsageError(f"{name} is {text!r}, which is no positive number", f"unset {name}, or set it to {default:g}")
    return number


def _integer(environ: Mapping[str, str], name: str, default: int) -> int:
    number = _number(environ, name, default)
    if number != int(number):
        raise UsageError(f"{name} is {environ[name]!r}, which is no whole number", f"unset {name}, or set it to {default}")
    return int(number)
