from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noetl.worker import frames


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=50)), max_size=6), st.integers(1, 20))
def test_frames_come_out_whole_however_they_are_cut(sent: list[tuple[int, bytes]], size: int) -> None:
    stream = b"".join(frames.frame(kind, payload) for kind, payload in sent)
    decoder = frames.Decoder(100)
    received = [frame for start in range(0, len(stream), size) for frame in decoder.feed(stream[start : start + size])]
    assert received == sent


def test_a_frame_above_the_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="101"):
        frames.Decoder(100).feed(frames.HEADER.pack(1, 101))


@pytest.mark.parametrize("result", [None, b"[1]"])
def test_failures(result: bytes | None) -> None:
    assert frames.read_failed(frames.failed(b'{"a":1}', result)) == (b'{"a":1}', result)
