from __future__ import annotations

import base64
import html
import json
import shlex
from urllib.parse import quote

import orjson
import pytest

from noetl.worker.masking import Masks, secrets_of

SECRET = 'p"ä ss&word'


def test_text() -> None:
    masks = Masks({SECRET})
    assert masks.text(f"a {SECRET} b p%22%C3%A4%20ss%26word c") == "a *** b *** c"


def test_base64_of_a_secret() -> None:
    assert Masks({"password1"}).text("cGFzc3dvcmQx") == "***"


def test_json_stays_json() -> None:
    document = orjson.dumps({"a": [f"x{SECRET}"], SECRET: 1})
    assert orjson.loads(Masks({SECRET}).json(document)) == {"a": ["x***"], "***": 1}


def test_a_number_that_holds_a_secret_becomes_text() -> None:
    assert orjson.loads(Masks({"1234"}).json(b'{"a":912345,"b":true,"c":"null"}')) == {"a": "***", "b": True, "c": "null"}


def test_a_secret_that_looks_like_structure() -> None:
    assert orjson.loads(Masks({"},{"}).json(b"[{},{}]")) == [{}, {}] if len("},{") >= 4 else True
    assert orjson.loads(Masks({'":"x'}).json(b'{"a":"x"}')) == {"a": "x"}
    assert orjson.loads(Masks({"true"}).json(b'{"a":true}')) == {"a": True}


def test_short_secrets_are_left_alone() -> None:
    assert Masks({"abc"}).text("abcdef") == "abcdef"


def test_secrets_of_a_credential() -> None:
    data = {"db_host": "h", "db_port": 5432, "db_user": "me", "db_password": "word", "nested": {"token": "tok", "url": "u"}, "keys": ["k1"]}
    assert secrets_of(data) == {"word", "tok", "k1"}


@pytest.mark.parametrize("secret", [SECRET, "it's \\ a $word `of`  \nmine", "plain-Secret_1"])
def test_no_form_of_a_secret_is_left(secret: str) -> None:
    """What code, templates and shells make of a text."""
    raw = secret.encode()
    forms = [
        json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1], html.escape(secret), quote(secret),
        raw.hex(), raw.hex().upper(), " ".join(secret.split()), shlex.quote(secret).strip("'"), secret.replace("'", "''"),
        base64.urlsafe_b64encode(raw).decode(), repr([json.dumps(secret)])[3:-3],
        repr([shlex.quote(secret)])[2:-2].strip("\\'\""), json.dumps(json.dumps([secret]))[4:-4],
    ]  # fmt: skip
    masks = Masks({secret})
    assert {masks.text(f"<{form}>") for form in forms} == {"<***>"}


@pytest.mark.parametrize("ahead", [b"", b"a", b"ab", b"abc", b"user:"])
def test_a_secret_within_what_is_base64(ahead: bytes) -> None:
    """As in the header of a basic authorization."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = encode(ahead + b"a long?>secret~" + b"!end").decode()
        assert len(whole) - len(Masks({"a long?>secret~"}).text(whole)) > 18 - len("***")


def test_a_secret_of_which_a_url_quotes_some_characters() -> None:
    masks = Masks({'a"b&c d/e'})
    for form in ("a%22b&c%20d/e", "a%22b%26c+d/e", 'a"b%26c%20d%2fe'):
        assert masks.text(f"/x/{form}?y") == "/x/***?y"
        assert orjson.loads(masks.json(orjson.dumps([form]))) == ["***"]


def test_the_beginning_of_a_secret_that_was_cut_off() -> None:
    masks = Masks({"a-long-secret"})
    assert masks.error("exit code 3 from: curl -H a-long-se... and a-lo") == "exit code 3 from: curl -H ***... and a-lo"
    assert masks.error("exit code 3 from: curl -H a-l...") == "exit code 3 from: curl -H a-l..."


@pytest.mark.parametrize("sign", ["\\", " ", "%25", "+", "'", '"', "\\n"])
def test_a_text_of_nothing_but_escapes_is_searched_in_linear_time(sign: str) -> None:
    """Without bounds in the pattern each of these takes minutes."""
    text = sign * 200_000 + "x9"
    assert Masks({f'"{sign}x9', " '\\ x9"}).text(text + "y").endswith("y")
    assert Masks({"a-long-secret"}).error("a-lo..." * 20_000) == "***..." * 20_000
