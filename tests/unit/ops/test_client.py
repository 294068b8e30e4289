from __future__ import annotations

from pathlib import Path

import pytest

from noetl.errors import Unavailable, UsageError
from noetl.ops import client, ports
from noetl.ops.client import Client, Message
from noetl.settings import Secret, Settings


def test_messages_of_an_event_stream() -> None:
    lines = [
        ": ping",
        "",
        "id: 7",
        "event: event",
        'data: {"a":',
        "data: 1}",
        "",
        'data: "plain"',
        "",
        "event: end",
        'data: {"status":"COMPLETED"}',
        "",
    ]
    assert list(client.messages(iter(lines))) == [
        Message("event", "7", {"a": 1}),
        Message("message", None, "plain"),
        Message("end", None, {"status": "COMPLETED"}),
    ]


def test_an_unfinished_message_is_dropped() -> None:
    assert list(client.messages(iter(["id: 7", 'data: {"a": 1}']))) == []


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:8082"),
        ("::", "http://127.0.0.1:8082"),
        ("10.1.2.3", "http://10.1.2.3:8082"),
        ("::1", "http://[::1]:8082"),
    ],
)
def test_the_url_of_the_local_server(host: str, url: str) -> None:
    assert client.server_url(Settings(home=Path("/nowhere"), host=host)) == url


def test_the_settings_url_comes_first() -> None:
    assert client.server_url(Settings(home=Path("/nowhere"), server_url="http://there:1/")) == "http://there:1"


def test_the_only_server_of_this_home_is_meant(tmp_path: Path) -> None:
    (tmp_path / "noetl_server.json").write_text('{"url": "http://127.0.0.1:9999"}')
    assert client.connect(Settings(home=tmp_path)).url == "http://127.0.0.1:9999"
    assert client.connect(Settings(home=tmp_path, server_url="http://there:1")).url == "http://there:1"


def test_no_server_says_what_to_type() -> None:
    nobody = Client(f"http://127.0.0.1:{ports.free()}", Secret("t"))
    with pytest.raises(Unavailable, match="no server answers at") as caught:
        nobody.get("/health")
    assert "noetl server start --init-db" in caught.value.hint
    assert not nobody.answers()


@pytest.mark.parametrize("url", ["localhost:8082", "http://127.0.0.1:99999", "http://127.0.0.1:0", "http://[::1", "ftp://there", "http://"])
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(UsageError, match="is no server URL"):
        Client(url, Secret("t"))


def test_a_host_that_there_is_not_is_said_to_be() -> None:
    there = client.connect(Settings(home=Path("/nowhere"), server_url="http://nobody.invalid:1"))
    with pytest.raises(Unavailable, match=r"the host of http://nobody\.invalid:1 has no address") as refused:
        there.get("/health")
    assert refused.value.hint == "set NOETL_SERVER_URL to the server's"
