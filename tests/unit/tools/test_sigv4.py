"""Signatures, against those that Amazon has published."""

from __future__ import annotations

import datetime

import pytest

from noetl.tools.request import Request
from noetl.tools.sigv4 import Keys, signed

KEYS = Keys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
S3_KEYS = Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
NOW = datetime.datetime(2015, 8, 30, 12, 36, tzinfo=datetime.UTC)
S3_NOW = datetime.datetime(2013, 5, 24, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("request_", "signature"),
    [
        (Request("GET", "https://example.amazonaws.com/"), "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        (Request("POST", "https://example.amazonaws.com/"), "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (
            Request("GET", "https://example.amazonaws.com/", query=[("Param2", "value2"), ("Param1", "value1")]),
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
    ],
)
def test_the_examples_of_the_test_suite(request_: Request, signature: str) -> None:
    header = signed(request_, KEYS, region="us-east-1", service="service", now=NOW).headers["Authorization"]
    assert header == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        f"SignedHeaders=host;x-amz-date, Signature={signature}"
    )


def test_the_example_of_s3() -> None:
    request = Request("GET", "https://examplebucket.s3.amazonaws.com/test.txt", {"Range": "bytes=0-9"})
    headers = signed(request, S3_KEYS, region="us-east-1", service="s3", now=S3_NOW).headers
    assert headers["Authorization"].endswith("Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41")
    assert headers["Authorization"].split("SignedHeaders=")[1].startswith("host;range;x-amz-content-sha256;x-amz-date,")


def test_the_token_of_a_session_is_signed_too() -> None:
    keys = Keys("a", "b", "session")
    headers = signed(Request("GET", "http://127.0.0.1:9000/b/k"), keys, region="r", service="s3", now=NOW).headers
    assert (headers["Host"], headers["X-Amz-Security-Token"]) == ("127.0.0.1:9000", "session")
    assert "x-amz-security-token" in headers["Authorization"]
    assert "session" not in repr(keys)
