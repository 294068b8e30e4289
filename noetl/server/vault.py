"""Credentials at rest: AES-256-GCM under a key that is not in the database."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from typing import Any

import orjson

from noetl import home
from noetl.errors import NoetlError
from noetl.settings import Settings
from noetl.store.postgres import Database

Json = Any
NONCE = 12


class WrongKey(NoetlError):
    """The encryption key is not the one that the database was written with."""

    code = "wrong_key"
    http_status = 500


class Vault:
    """Encrypts and decrypts credentials' data; a credential's name is bound to it."""

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._cipher = AESGCM(key)
        self.check = hmac.new(key, b"noetl.encryption_key", hashlib.sha256).hexdigest()

    def encrypt(self, name: str, data: Mapping[str, Json]) -> bytes:
        """Return the nonce and the ciphertext of a credential's data."""
        nonce = os.urandom(NONCE)
        return nonce + self._cipher.encrypt(nonce, orjson.dumps(dict(data)), name.encode())

    def decrypt(self, name: str, sealed: bytes) -> dict[str, Json]:
        """Return a credential's data; raise WrongKey if it was not sealed with this key and name."""
        from cryptography.exceptions import InvalidTag

        try:
            document: dict[str, Json] = orjson.loads(self._cipher.decrypt(sealed[:NONCE], sealed[NONCE:], name.encode()))
        except InvalidTag:
            raise WrongKey(f"credential {name} cannot be decrypted", "store it anew: POST /api/credentials") from None
        return document


def read_key(settings: Settings) -> bytes:
    """Return the 32 bytes of NOETL_ENCRYPTION_KEY (base64), else those of NOETL_HOME/encryption_key, which the first start makes."""
    if settings.encryption_key is not None:
        text, where = settings.encryption_key.reveal(), "NOETL_ENCRYPTION_KEY"
    else:
        path = settings.home / "encryption_key"
        text, where = home.once(path, lambda: base64.b64encode(secrets.token_bytes(32)).decode()), str(path)
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != 32:
        raise NoetlError(
            f"{where} is no base64 of 32 bytes",
            "make one: python3 -c 'import base64, os; print(base64.b64encode(os.urandom(32)).decode())'",
        )
    return key


async def verify(vault: Vault, database: Database) -> None:
    """Refuse a database that was written with another key; a new database takes this one."""
    row = await database.row("property_once", "encryption_key", vault.check)
    if row is None:
        row = await database.row("property", "encryption_key")
    if row is None or not hmac.compare_digest(row["value"], vault.check):
        raise WrongKey(
            f"the encryption key is not the one that the database {database.where} was written with",
            "set NOETL_ENCRYPTION_KEY to that key (or restore NOETL_HOME/encryption_key)",
        )
