"""A state is stored as JSON and read back."""

import json

from hypothesis import given
from hypothesis import strategies as st

from noetl.engine.state import LoopState, Run, State, decode, encode

numbers = st.integers(0, 10_000)
texts = st.text(max_size=5)
loop_states = st.builds(LoopState, numbers, st.integers(0, 1), numbers, numbers, numbers, numbers)
runs = st.lists(
    st.builds(Run, numbers, texts, st.booleans(), st.lists(numbers, max_size=3).map(tuple), st.none() | loop_states),
    unique_by=lambda run: run.id,
    max_size=4,
).map(lambda found: {run.id: run for run in found})
details = st.none() | st.dictionaries(texts, st.none() | numbers | texts, max_size=3)
states = st.builds(
    State,
    status=st.sampled_from(["RUNNING", "PAUSED", "COMPLETED", "FAILED", "CANCELLED"]),
    runs=runs,
    next_run=numbers,
    next_command=numbers,
    next_event=numbers,
    end_args=details,
    end_loop_results=st.none() | numbers,
    end_ran=st.booleans(),
    failure=details,
    deadline=st.none() | st.floats(0, 2e9),
    last_step=st.none() | texts,
)


@given(states)
def test_a_state_comes_back_as_it_was(state: State) -> None:
    assert decode(json.loads(json.dumps(encode(state)))) == state


def test_a_state_is_small() -> None:
    state = State(
        runs={1: Run(1, "start", loop=LoopState(10_000, 0, 5_000, 7, 4_990, 3))}, next_run=2, next_command=5_001, next_event=9_000
    )
    assert json.dumps(encode(state)) == (
        '{"status": "RUNNING", "runs": [[1, "start", false, [], [10000, 0, 5000, 7, 4990, 3]]], "next": [2, 5001, 9000]}'
    )


def test_how_a_loop_moves() -> None:
    loop = LoopState(total=3, limit=0).issue(3)
    assert (loop.cursor, loop.live, loop.waits, loop.closing) == (3, 3, False, False)
    loop = loop.finish(failed=False).finish(failed=True)
    assert (loop.live, loop.done, loop.failed) == (1, 1, 1)
    assert (loop.withdraw(1).live, loop.withdraw(1).done) == (0, 1)
    assert loop.finish(failed=False).closing
    assert loop.finish(failed=False).waits
    assert LoopState(total=3, limit=0).issue(1).waits, "the next chunk"
    assert not LoopState(total=3, limit=1).issue(1).waits, "a sequential loop goes on by itself"
