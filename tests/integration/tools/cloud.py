"""A stand-in for the HTTP interfaces of four clouds, which checks what they check: signatures, tokens, headers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

from aiohttp import web
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

AWS = {"access_key_id": "AKIATEST", "secret_access_key": "canary-aws-key/+", "session_token": "canary-session", "region": "eu-west-1"}
_RSA = rsa.generate_private_key(65537, 2048)
PEM = _RSA.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


class Cloud:
    """Secrets, objects, and how often a token was asked for."""

    def __init__(self) -> None:
        self.url = ""
        self.tokens = 0
        self.objects: dict[str, bytes] = {}
        self.types: dict[str, str] = {}
        self.secrets: dict[str, str] = {"app/db": '{"password": "canary-password", "user": "u"}', "plain": "canary-plain"}

    @property
    def service_account(self) -> dict[str, str]:
        """A key as Google gives it."""
        return {
            "type": "service_account",
            "project_id": "p1",
            "client_email": "robot@p1",
            "private_key": PEM,
            "private_key_id": "k1",
            "token_uri": f"{self.url}/google/token",
            "endpoint": f"{self.url}/google",
        }

    async def secrets_manager(self, request: web.Request) -> web.Response:
        """AWS Secrets Manager."""
        body = await request.read()
        if not self._signed(request, body, "secretsmanager") or request.headers["X-Amz-Target"] != "secretsmanager.GetSecretValue":
            return self._aws({"__type": "InvalidSignatureException"}, 403)
        name = json.loads(body)["SecretId"]
        if name == "binary":
            return self._aws({"SecretBinary": base64.b64encode(b"canary-bytes").decode()})
        if name not in self.secrets:
            return self._aws({"__type": "ResourceNotFoundException"}, 400)
        return self._aws({"SecretString": self.secrets[name], "Asked": json.loads(body)})

    async def s3(self, request: web.Request) -> web.Response:
        """S3 in path style."""
        if not self._signed(request, b"", "s3"):
            return web.Response(status=403, text="SignatureDoesNotMatch")
        return self._object(request.match_info["bucket"], request.match_info["key"])

    async def google_token(self, request: web.Request) -> web.Response:
        """Google's token for a signed statement."""
        form = await request.post()
        head, claims, signature = str(form["assertion"]).split(".")
        _RSA.public_key().verify(_decoded(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())
        said = json.loads(_decoded(claims))
        assert (said["iss"], said["aud"]) == ("robot@p1", f"{self.url}/google/token")
        self.tokens += 1
        return web.json_response({"access_token": "canary-google", "expires_in": 3600, "token_type": "Bearer"})

    async def google_secret(self, request: web.Request) -> web.Response:
        """Google's Secret Manager."""
        if request.headers.get("Authorization") != "Bearer canary-google":
            return web.json_response({"error": "UNAUTHENTICATED"}, status=401)
        project, name, version = (request.match_info[word] for word in ("project", "name", "version"))
        if project != "p1" or name not in self.secrets:
            return web.json_response({"error": "NOT_FOUND"}, status=404)
        text = f"canary-old {name}" if version == "1" else self.secrets[name]
        return web.json_response({"payload": {"data": base64.b64encode(text.encode()).decode()}})

    async def gcs_get(self, request: web.Request) -> web.Response:
        """A download from Cloud Storage."""
        if request.headers.get("Authorization") != "Bearer canary-google" or request.query["alt"] != "media":
            return web.Response(status=401)
        return self._object(request.match_info["bucket"], request.match_info["key"])

    async def gcs_put(self, request: web.Request) -> web.Response:
        """An upload to Cloud Storage."""
        if request.headers.get("Authorization") != "Bearer canary-google" or request.query["uploadType"] != "media":
            return web.Response(status=401)
        place = f"{request.match_info['bucket']}/{request.query['name']}"
        self.objects[place], self.types[place] = await request.read(), request.headers["Content-Type"]
        size = str(len(self.objects[place]))
        return web.json_response({"bucket": request.match_info["bucket"], "name": request.query["name"], "size": size, "generation": "7"})

    async def azure_token(self, request: web.Request) -> web.Response:
        """Azure's token for an application."""
        form = await request.post()
        wanted = ("client_credentials", "app", "canary-azure", "https://vault.azure.net/.default")
        if tuple(form[word] for word in ("grant_type", "client_id", "client_secret", "scope")) != wanted:
            return web.json_response({"error": "invalid_client"}, status=401)
        self.tokens += 1
        return web.json_response({"access_token": "canary-azure-token", "expires_in": 3600})

    async def azure_machine(self, request: web.Request) -> web.Response:
        """Azure's token for the managed identity of a machine; its times are texts."""
        wanted = {"api-version": "2018-02-01", "resource": "https://vault.azure.net", "client_id": "identity"}
        if request.headers.get("Metadata") != "true" or dict(request.query) != wanted:
            return web.json_response({"error": "invalid_request"}, status=400)
        self.tokens += 1
        return web.json_response({"access_token": "canary-azure-token", "expires_in": "3599"})

    async def azure_secret(self, request: web.Request) -> web.Response:
        """Azure Key Vault."""
        if request.headers.get("Authorization") != "Bearer canary-azure-token" or not request.query.get("api-version"):
            return web.Response(status=401)
        name = request.match_info["name"]
        return web.json_response({"value": self.secrets[name]}) if name in self.secrets else web.Response(status=404)

    async def vault(self, request: web.Request) -> web.Response:
        """HashiCorp Vault: `secret/` is of version 2, `old/` of version 1."""
        if request.headers.get("X-Vault-Token") != "canary-vault":
            return web.json_response({"errors": ["permission denied"]}, status=403)
        document: Any = {
            "secret/data/app": {"data": {"password": "canary-new", "user": "u"}, "metadata": {"version": 3}},
            "secret/data/one": {"data": {"value": "canary-one"}, "metadata": {}},
            "old/app": {"password": "canary-first"},
        }.get(request.match_info["path"])
        return web.json_response({"data": document}) if document else web.json_response({"errors": []}, status=404)

    def _object(self, bucket: str, key: str) -> web.Response:
        found = self.objects.get(f"{bucket}/{key}")
        return web.Response(status=404) if found is None else web.Response(body=found, content_type="application/octet-stream")

    def _aws(self, document: Any, status: int = 200) -> web.Response:
        return web.Response(text=json.dumps(document), status=status, content_type="application/x-amz-json-1.1")

    def _signed(self, request: web.Request, body: bytes, service: str) -> bool:
        scope, names, signature = (part.strip().partition("=")[2] for part in request.headers["Authorization"].partition(" ")[2].split(","))
        access_key, date, region, *_ = scope.split("/")
        path = quote(request.path, safe="/-_.~")
        signed = "".join(f"{name}:{request.headers[name]}\n" for name in names.split(";"))
        text = "\n".join([request.method, path, request.query_string, signed, names, hashlib.sha256(body).hexdigest()])
        wanted = (
            f"AWS4-HMAC-SHA256\n{request.headers['X-Amz-Date']}\n{scope.partition('/')[2]}\n{hashlib.sha256(text.encode()).hexdigest()}"
        )
        key = ("AWS4" + AWS["secret_access_key"]).encode()
        for part in (date, region, service, "aws4_request", wanted):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        token = request.headers.get("X-Amz-Security-Token")
        return key.hex() == signature and access_key == AWS["access_key_id"] and token == AWS["session_token"]


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


@asynccontextmanager
async def running() -> AsyncIterator[Cloud]:
    """Run a stand-in on a free port."""
    cloud = Cloud()
    application = web.Application(client_max_size=64 * 1024**2)
    route = application.router.add_route
    route("POST", "/aws/", cloud.secrets_manager)
    route("GET", "/s3/{bucket}/{key:.+}", cloud.s3)
    route("POST", "/google/token", cloud.google_token)
    route("GET", "/google/v1/projects/{project}/secrets/{name}/versions/{version}:access", cloud.google_secret)
    route("GET", "/google/storage/v1/b/{bucket}/o/{key:.+}", cloud.gcs_get)
    route("POST", "/google/upload/storage/v1/b/{bucket}/o", cloud.gcs_put)
    route("POST", "/azure/t1/oauth2/v2.0/token", cloud.azure_token)
    route("GET", "/metadata/identity/oauth2/token", cloud.azure_machine)
    route("GET", "/azure/secrets/{name}", cloud.azure_secret)
    route("GET", "/vault/v1/{path:.+}", cloud.vault)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    cloud.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield cloud
    finally:
        await runner.cleanup()
