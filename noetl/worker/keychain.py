"""The `keychain` of a playbook, as templates and code see it, and `token(credential)`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from noetl.errors import NoetlError
from noetl.playbook.expression import Templates
from noetl.playbook.model import Json
from noetl.tools import oauth
from noetl.tools import secrets as secret_store
from noetl.tools.base import ToolError
from noetl.worker.masking import secrets_of

Find = Callable[[str], Mapping[str, Json]]
_TOKEN = ("access_token", "token", "bearer_token", "api_key")
_NO_SECRETS = frozenset({"token_type", "expires_in", "expires_at", "scope"})
"""What the answer to a request for a token says openly."""
_NO_SECRETS_OF_REQUEST = frozenset(
    {"grant_type", "scope", "audience", "content-type", "accept", "endpoint", "method", "timeout", "resource"}
)


class Keychain(Mapping[str, Any]):
    """The entries by name; each is built when it is first read, from its own config and the entries ahead of it."""

    def __init__(
        self,
        entries: Sequence[Mapping[str, Json]],
        templates: Templates,
        scope: Mapping[str, Any],
        find: Find,
        secrets: set[str],
        built: dict[str, Json] | None = None,
    ) -> None:
        self._entries = {str(entry["name"]): (number, entry) for number, entry in enumerate(entries)}
        self._all = entries
        self._templates = templates
        self._scope = scope
        self._find = find
        self._secrets = secrets
        self._built: dict[str, Json] = {} if built is None else built

    def __getitem__(self, name: str) -> Json:
        number, entry = self._entries[name]
        if name not in self._built:
            try:
                self._built[name] = self._build(entry, self._before(number))
            except NoetlError as error:
                kind, status = getattr(error, "type", error.code), getattr(error, "status", None)
                failed = ToolError(f"keychain entry {name}: {error.message}", error.hint, type=kind, status=status)
                failed.details |= error.details
                raise failed from None
        return self._built[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __repr__(self) -> str:
        return f"Keychain({', '.join(self)})"

    def _before(self, number: int) -> Keychain:
        return Keychain(self._all[:number], self._templates, self._scope, self._find, self._secrets, self._built)

    def _build(self, entry: Mapping[str, Json], before: Keychain) -> Json:
        kind = str(entry["kind"])
        config = self._templates.render(entry["config"], {**self._scope, "keychain": before})
        if kind.startswith("google_"):
            kind = "credential"
        builder = _BUILDERS.get(kind)
        if builder is None:
            raise ToolError(f"this worker has no kind {kind!r} of keychain entries; it has {', '.join(_BUILDERS)}", type="config")
        return builder(config, self._scope, self._find, self._secrets)


def token_function(find: Find) -> Callable[[str], str]:
    """Return the function `token(credential)` of templates."""

    def token(credential: str) -> str:
        data = find(str(credential))
        found = next((data[name] for name in _TOKEN if data.get(name)), None)
        if found is None:
            raise ToolError(f"the credential {credential} has no token: give it access_token or token", type="config")
        return str(found)

    return token


def _static(config: Json, _scope: Mapping[str, Any], _find: Find, secrets: set[str]) -> Json:
    values = config.get("map")
    if not isinstance(values, Mapping):
        raise ToolError("a static entry needs a map of names to values", type="config")
    secrets.update(_values(values, frozenset()))
    return values


def _bearer(config: Json, _scope: Mapping[str, Any], find: Find, secrets: set[str]) -> Json:
    value = config.get("token") or config.get("access_token")
    if not value and (name := config.get("credential") or config.get("auth") or config.get("ref")):
        value = token_function(find)(name)
    if not value:
        raise ToolError("a bearer entry needs a token, and it is empty", type="config")
    secrets.add(str(value))
    return {"access_token": str(value), "token": str(value), "token_type": "Bearer"}


def _oauth2(config: Json, _scope: Mapping[str, Any], find: Find, secrets: set[str]) -> Json:
    request = {name: config[name] for name in ("data", "json", "headers", "params", "payload", "body") if name in config}
    secrets.update(_values(request, _NO_SECRETS_OF_REQUEST))
    answer = oauth.token(config, find, secrets)
    secrets.update(_values(answer, _NO_SECRETS))
    return answer


def _credential(config: Json, _scope: Mapping[str, Any], find: Find, _secrets: set[str]) -> Json:
    name = next((config[field] for field in ("credential", "ref", "credential_ref", "auth") if config.get(field)), None)
    if name is None:
        raise ToolError("the entry names no credential: give credential: NAME", type="config")
    return dict(find(str(name)))


def _secret_manager(config: Json, scope: Mapping[str, Any], find: Find, secrets: set[str]) -> Json:
    wanted = config.get("map")
    if not isinstance(wanted, Mapping):
        raise ToolError("a secret_manager entry needs a map of names to secrets", type="config")
    return {name: secret_store.read(config, str(written), scope.get("env"), find, secrets) for name, written in wanted.items()}


def _values(value: Json, open_names: frozenset[str], name: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _values(item, open_names, str(key))
    elif isinstance(value, list):
        for item in value:
            yield from _values(item, open_names, name)
    elif value is not None and not isinstance(value, bool) and name.lower() not in open_names:
        yield str(value)


_BUILDERS: Mapping[str, Callable[[Json, Mapping[str, Any], Find, set[str]], Json]] = {
    "static": _static,
    "bearer": _bearer,
    "oauth2": _oauth2,
    "credential": _credential,
    "credential_ref": _credential,
    "secret_manager": _secret_manager,
}


def finder(fetch: Callable[[str, str], Json], secrets: set[str]) -> Find:
    """Return what fetches a stored credential's data, once a job; its secrets become known as such."""
    found: dict[str, Mapping[str, Json]] = {}

    def find(name: str) -> Mapping[str, Json]:
        if name not in found:
            data = fetch("credential", name)
            secrets.update(secrets_of(data))
            found[name] = data if isinstance(data, Mapping) else {}
        return found[name]

    return find
