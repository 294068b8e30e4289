"""What is read out of a builder's output, and what is made of its end."""

from __future__ import annotations

import pytest

from noetl.ops import build_failure
from noetl.ops.build_log import BuildLog, BuildxLog, ClassicLog

CLASSIC = [
    "Step 1/6 : ARG BASE=python",
    "Step 2/6 : FROM ${BASE} AS deps",
    " ---> 111111111111",
    "Step 3/6 : RUN pip install x",
    " ---> Using cache",
    " ---> 222222222222",
    "Step 4/6 : FROM ${BASE}",
    " ---> 111111111111",
    "Step 5/6 : COPY a b",
    " ---> 333333333333",
    "Step 6/6 : RUN make all",
    " ---> Running in 444444444444",
    "compiling",
    "\x1b[91mbad thing\x1b[0m",
]
BUILDX = [
    '#0 building with "default" instance using docker driver',
    "#1 [internal] load build definition from Dockerfile",
    "#1 transferring dockerfile: 2.1kB done",
    "#1 DONE 0.0s",
    "#4 [deps 1/2] FROM docker.io/library/python:3.12-slim@sha256:1111",
    "#4 DONE 0.0s",
    "#5 [deps 2/2] RUN pip install x",
    "#5 CACHED",
    "#6 [stage-2 2/3] COPY a b",
    "#6 DONE 0.5s",
    "#7 [stage-2 3/3] RUN make all",
    "#7 0.123 compiling",
    "#7 0.456 bad thing",
    '#7 ERROR: process "/bin/sh -c make all" did not complete successfully: exit code: 2',
    "------",
    " > [stage-2 3/3] RUN make all:",
    "0.456 bad thing",
    "------",
    "ERROR: failed to solve: exit code: 2",
]


def read(reader: BuildLog, lines: list[str], *, failed: bool) -> list[str]:
    told = [line for at, one in enumerate(lines) for line in reader.feed(one, float(at))]
    return told + reader.finish(float(len(lines)), failed=failed)


def test_the_engines_own_builder() -> None:
    reader = ClassicLog()
    assert read(reader, CLASSIC, failed=True) == [
        "[arguments 1/6] ARG BASE=python: from the cache",
        "[deps 2/6] FROM ${BASE} AS deps: from the cache",
        "[deps 3/6] RUN pip install x: from the cache",
        "[image 4/6] FROM ${BASE}: from the cache",
        "[image 5/6] COPY a b: 2.0 s",
        "[image 6/6] RUN make all …",
        "[image 6/6] RUN make all: FAILED after 4.0 s",
    ]
    assert list(reader.steps[-1].output) == ["compiling", "bad thing"]
    good = ClassicLog()
    assert read(good, CLASSIC, failed=False)[-1] == "[image 6/6] RUN make all: 4.0 s"


def test_a_base_that_is_pulled_is_no_cache_hit() -> None:
    reader = ClassicLog()
    lines = ["Step 1/1 : FROM python:3.12", "3.12: Pulling from library/python", "Digest: sha256:1", " ---> 111111111111"]
    assert read(reader, lines, failed=False) == ["[image 1/1] FROM python:3.12: 4.0 s"]


def test_buildx() -> None:
    reader = BuildxLog()
    assert read(reader, BUILDX, failed=True) == [
        "[deps 1/2] FROM docker.io/library/python:3.12-slim@sha256:1111: from the cache",
        "[deps 2/2] RUN pip install x: from the cache",
        "[stage-2 2/3] COPY a b: 0.5 s",
        "[stage-2 3/3] RUN make all …",
        "[stage-2 3/3] RUN make all: FAILED after 3.0 s",
    ]
    failed = [step for step in reader.steps if step.failed]
    assert [list(step.output) for step in failed] == [["compiling", "bad thing"]]


def test_a_base_that_buildx_pulls_is_no_cache_hit() -> None:
    lines = ["#4 [1/2] FROM docker.io/library/python:3.12", "#4 sha256:11 1.05MB / 29.15MB 0.2s", "#4 extracting sha256:11", "#4 DONE 7.5s"]
    assert read(BuildxLog(), lines, failed=False) == ["[image 1/2] FROM docker.io/library/python:3.12: 7.5 s"]


def test_a_build_that_is_cut_off_failed_where_it_was() -> None:
    reader = BuildxLog()
    assert read(reader, BUILDX[:-7], failed=True)[-1] == "[stage-2 3/3] RUN make all: FAILED after 2.0 s"


@pytest.mark.parametrize(
    ("said", "instruction", "code", "hint"),
    [
        ("pull access denied for x, repository does not exist", "FROM x", "no_base_image", "--build-arg PYTHON_IMAGE=NAME"),
        (
            'Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io: no such host',
            "FROM x",
            "no_base_image",
            "mirror",
        ),
        ("write /var/lib/docker/x: no space left on device", "RUN x", "disk_full", "docker system df"),
        ("exec /bin/sh: exec format error", "RUN x", "cannot_cross_build", "qemu-user-static"),
        ("pip: Temporary failure in name resolution", "RUN pip", "no_network", "--network host"),
        ("SSL: CERTIFICATE_VERIFY_FAILED", "RUN pip", "bad_certificate", "PYTHON_IMAGE"),
        ("returned a non-zero code: 1", "RUN x", "build_failed", "inv build"),
    ],
)
def test_the_cause_of_a_failure_is_named_with_what_to_type(said: str, instruction: str, code: str, hint: str) -> None:
    reader = ClassicLog()
    read(reader, [f"Step 1/1 : {instruction}", " ---> Running in 1", "a line before"], failed=True)
    error = build_failure.explain(said, reader.steps, ".noetl/logs/build-1.log", "linux/arm64", {})
    assert error.code == code
    assert hint in error.hint
    assert error.hint.endswith("the whole log: .noetl/logs/build-1.log")
    assert f"1/1] {instruction}" in error.message
    assert error.message.endswith(f"    a line before\n    {said}")


def test_the_base_image_that_is_missing_is_named_whatever_arguments_it_came_from() -> None:
    reader = ClassicLog()
    lines = ["Step 1/3 : ARG PYTHON_IMAGE=python:3.12", "Step 2/3 : ARG UI_IMAGE=${PYTHON_IMAGE}", "Step 3/3 : FROM ${UI_IMAGE} AS ui"]
    read(reader, lines, failed=True)
    error = build_failure.explain("connection refused", reader.steps, "log", "linux/amd64", {})
    assert error.message.startswith("python:3.12 is not here and cannot be pulled for linux/amd64 at [ui 3/3]")
    error = build_failure.explain("connection refused", reader.steps, "log", "linux/amd64", {"PYTHON_IMAGE": "mirror/python:1"})
    assert error.message.startswith("mirror/python:1 is not here")
