"""Secrets become `***` in whatever leaves a tool call."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, quote_plus

import orjson

from noetl.engine.value import dumps, loads

SHORTEST = 4
"""Shorter values are not masked: they would blot out half of any text."""
_MASK = "***"


class Masks:
    """Replaces a call's secrets, also where they are escaped, quoted for a URL or in base64."""

    def __init__(self, secrets: Iterable[str]) -> None:
        words: set[str] = set()
        for secret in secrets:
            if len(secret) >= SHORTEST:
                words |= {secret, quote(secret, safe=""), quote_plus(secret), base64.b64encode(secret.encode("utf-8", "replace")).decode()}
        self._words = sorted(words, key=len, reverse=True)
        self._escaped = [orjson.dumps(word.encode("utf-8", "replace").decode())[1:-1] for word in self._words]

    def text(self, text: str) -> str:
        """Return the text without secrets."""
        for word in self._words:
            if word in text:
                text = text.replace(word, _MASK)
        return text

    def json(self, document: bytes) -> bytes:
        """Return the JSON text without secrets."""
        if not any(word in document for word in self._escaped):
            return document
        return dumps(self.value(loads(document)))

    def value(self, value: Any) -> Any:
        """Return the JSON value without secrets; a number whose digits hold one becomes text."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self.value(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, (int, float)) and not isinstance(value, bool) and any(word in str(value) for word in self._words):
            return _MASK
        return value


def secrets_of(credential: Any) -> set[str]:
    """Return the values of a credential that must not be seen: all but those that say where and who."""
    return set(_secret_values(credential, ""))


_OPEN = frozenset(
    re.findall(
        r"\w+",
        """host hostname port user username database dbname db schema name type region endpoint url account warehouse role
        db_host db_port db_user db_name header in sslmode scheme service bucket project project_id client_id email
        client_email token_uri auth_uri auth_provider_x509_cert_url client_x509_cert_url universe_domain private_key_id
        tenant tenant_id authority vault vault_url addr mount namespace version kv_version endpoint_url""",
    )
)


def _secret_values(value: Any, name: str) -> Iterable[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _secret_values(item, str(key))
    elif isinstance(value, list):
        for item in value:
            yield from _secret_values(item, name)
    elif value is not None and not isinstance(value, bool) and name.lower() not in _OPEN:
        yield str(value)
