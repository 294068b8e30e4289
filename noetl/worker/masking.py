"""Secrets become `***` in whatever leaves a tool call."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

import orjson

from noetl.engine.value import dumps, loads

SHORTEST = 4
"""Shorter values are not masked: they would blot out half of any text."""
_MASK = "***"
_CUT = "..."
"""What stands where an error's text shows only the beginning of something."""
_MOST_CUT = 200
_LEAST_CODED = 8
_DEEP = r"\\{0,16}"
"""Escapes within escapes, and what is repeated in a pattern, are bounded: a text of nothing but such signs is searched in linear time."""
_PERCENT = "%(?:25){0,4}"
_SPACE = rf"(?:\s|[+]|(?i:{_PERCENT}(?:20|09|0A|0D))|\\{{1,16}}[nrt]){{1,64}}"


class Masks:
    """Replaces a call's secrets, also where they are escaped, quoted for a URL or a shell, in hexadecimal, or a part of what is base64."""

    def __init__(self, secrets: Iterable[str]) -> None:
        known = {secret for secret in secrets if len(secret) >= SHORTEST}
        self._known = sorted(known, key=len, reverse=True)
        words = {form for secret in known for form in _forms(secret)}
        self._words = sorted(words, key=len, reverse=True)
        self._escaped = [orjson.dumps(word.encode("utf-8", "replace").decode())[1:-1] for word in self._words]
        self._written = [(_run(secret), re.compile(_written(secret))) for secret in known if not secret.isalnum() or not secret.isascii()]
        self._beginnings = [(secret, re.compile(_written(secret[:SHORTEST]))) for secret in self._known]

    def text(self, text: str) -> str:
        """Return the text without secrets."""
        for word in self._words:
            if word in text:
                text = text.replace(word, _MASK)
        for run, pattern in self._written:
            if run in text:
                text = pattern.sub(_MASK, text)
        return text

    def error(self, text: str) -> str:
        """Return an error's text without secrets, nor the beginnings of such that were cut off."""
        pieces = self.text(text).split(_CUT)
        return _CUT.join([*(self._uncut(piece) for piece in pieces[:-1]), pieces[-1]])

    def _uncut(self, text: str) -> str:
        end = text[-_MOST_CUT * 6 :]
        for secret, beginning in self._beginnings:
            if not beginning.search(end):
                continue
            for size in range(min(len(secret), _MOST_CUT), SHORTEST - 1, -1):
                # A sign may be cut in the midst of its escape.
                if found := re.search(_written(secret[:size]) + r"[^\w\s]{0,6}\Z", end):
                    return text.removesuffix(found[0]) + _MASK
        return text

    def json(self, document: bytes) -> bytes:
        """Return the JSON text without secrets."""
        if not any(word in document for word in self._escaped):
            if not self._written:
                return document
            text = document.decode()
            if not any(run in text and pattern.search(text) for run, pattern in self._written):
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
        if isinstance(value, (int, float)) and not isinstance(value, bool) and self.text(str(value)) != str(value):
            return _MASK
        return value


def _forms(secret: str) -> Iterator[str]:
    """Yield a secret as it is and as it is encoded."""
    raw = secret.encode("utf-8", "replace")
    yield secret
    yield from (form for form in (raw.hex(), raw.hex().upper()) if len(form) >= _LEAST_CODED)
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(raw).decode()
        for ahead, foreign in enumerate((0, 2, 3)):
            # What the characters say that stand for nothing but the secret, with so many bytes ahead of it.
            inner = encode(bytes(ahead) + raw).decode()[foreign : (ahead + len(raw)) * 8 // 6]
            if len(inner) >= _LEAST_CODED:
                yield inner


def _run(secret: str) -> str:
    """Return the longest part of a secret that stands in every way to write it as it is."""
    return max(re.findall(r"[0-9A-Za-z]+", secret), key=len, default="")


def _written(secret: str) -> str:
    """Return a pattern for the ways to write a secret: each of its signs may be escaped as JSON, code, URLs, HTML or shells have it."""
    return "".join(_SPACE if part.isspace() else "".join(map(_sign, part)) for part in re.split(r"(\s+)", secret))


def _sign(sign: str) -> str:
    if sign.isascii() and sign.isalnum():
        return sign
    plain, number = re.escape(sign), ord(sign)
    ways = [
        rf"{_DEEP}{plain}",
        rf"(?i:{quote(sign.encode('utf-8', 'replace'), safe='').replace('%', _PERCENT)})",
        rf"(?i:\\{{1,16}}u{number:04x})",
    ]
    ways += [html.escape(sign)] if html.escape(sign) != sign else []
    ways += ["''", _DEEP.join(("", "'", '"', "'", '"', "'"))] if sign == "'" else []
    return f"(?:{'|'.join(reversed(ways))})"


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
