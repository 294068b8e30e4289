"""What is said of pods in states that a healthy cluster of one architecture does not show."""

from __future__ import annotations

from typing import Any

import pytest

from noetl.ops import diagnosis


def pod(state: dict[str, Any] | None = None, *, conditions: Any = (), phase: str = "Running", **status: Any) -> dict[str, Any]:
    container = {"name": "main", "image": "noetl:1", "restartCount": 0, "state": state or {"running": {}}, **status}
    return {
        "metadata": {"name": "web-1", "uid": "u", "namespace": "n"},
        "spec": {"containers": [{"name": "main", "resources": {"requests": {"nvidia.com/gpu": "2"}}}], "nodeSelector": {}},
        "status": {"phase": phase, "conditions": list(conditions), "containerStatuses": [container] if state else []},
    }


def event(reason: str, message: str) -> dict[str, Any]:
    return {"reason": reason, "message": message, "involvedObject": {"uid": "u"}}


EXEC = "standard_init_linux.go:228: exec user process caused: exec format error"


@pytest.mark.parametrize(
    ("state", "events", "logs"),
    [
        ({"terminated": {"exitCode": 1, "reason": "Error"}}, [], {"main": EXEC}),
        ({"terminated": {"exitCode": 128, "reason": "StartError", "message": f"failed to start: {EXEC}"}}, [], {}),
        ({"waiting": {"reason": "RunContainerError", "message": EXEC}}, [], {}),
        (
            {"waiting": {"reason": "ErrImagePull", "message": ""}},
            [event("Failed", 'Failed to pull image "noetl:1": no matching manifest for linux/arm64/v8 in the manifest list entries')],
            {},
        ),
    ],
)
def test_a_wrong_architecture_is_told_at_the_first_sight(state: dict[str, Any], events: list[Any], logs: dict[str, str]) -> None:
    found = diagnosis.of_pod(pod(state), events, logs)
    assert found is not None
    assert (found.cause, found.patience) == ("wrong architecture: noetl:1 is not built for this node", diagnosis.AT_ONCE)
    assert "inv k8s.redeploy" in found.advice


def test_a_first_crash_may_pass_and_a_loop_of_them_does_not() -> None:
    ended = {"exitCode": 3, "reason": "Error"}
    once = diagnosis.of_pod(pod({"terminated": ended}), [], {"main": "a\nb\n"})
    assert once is not None and (once.patience, once.evidence) == (diagnosis.NEVER, "a\nb")
    loop = diagnosis.of_pod(pod({"waiting": {"reason": "CrashLoopBackOff"}}, lastState={"terminated": ended}, restartCount=2), [], {})
    assert loop is not None and (loop.patience, loop.cause) == (diagnosis.AT_ONCE, "it crashes: exit code 3, 2 times so far")


@pytest.mark.parametrize("seen", [{}, {"lastState": {"terminated": {"exitCode": 0}}}, {"lastState": {"terminated": {"exitCode": 137}}}])
def test_one_that_its_probe_kills_is_told_whenever_its_end_is_seen_and_however_it_ends(seen: dict[str, Any]) -> None:
    failed = event("Unhealthy", "Startup probe failed: HTTP probe failed with statuscode: 404")
    events = [
        failed,
        event("Killing", "Container main failed startup probe, will be restarted"),
        event("Unhealthy", "Readiness probe failed"),
    ]
    found = diagnosis.of_pod(pod({"running": {}}, **seen), events, {})
    assert found is not None and (found.cause, found.evidence) == ("it is killed because its probe fails", failed["message"])
    once = diagnosis.of_pod(pod({"running": {}}), [failed], {})
    assert once is not None and once.cause == "its probe fails"
    other = diagnosis.of_pod(pod({"running": {}}), [event("Killing", "Stopping container main"), failed], {})
    assert other is not None and other.cause == "its probe fails"


def test_a_pull_that_times_out_is_tried_again_before_it_is_told() -> None:
    said = 'Failed to pull image "noetl:1": dial tcp: i/o timeout'
    first = diagnosis.of_pod(pod({"waiting": {"reason": "ErrImagePull"}}), [event("Failed", said)], {})
    assert first is not None and (first.patience, first.evidence) == (15, said)
    again = diagnosis.of_pod(pod({"waiting": {"reason": "ImagePullBackOff"}}), [event("Failed", said)], {})
    assert again is not None and (again.patience, again.evidence) == (0, said)


def test_a_node_that_is_being_added_is_waited_for() -> None:
    said = "0/3 nodes are available: 1 Insufficient cpu, 3 Insufficient nvidia.com/gpu."
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": said}
    alone = diagnosis.of_pod(pod(conditions=[condition], phase="Pending"), [], {})
    assert alone is not None and alone.patience == 15
    assert alone.cause == "no node has room for it: not enough cpu and nvidia.com/gpu"
    assert "nvidia.com/gpu 2" in alone.evidence
    growing = diagnosis.of_pod(pod(conditions=[condition], phase="Pending"), [event("TriggeredScaleUp", "pod triggered scale-up")], {})
    assert growing is not None and growing.patience == 300


def test_nothing_is_said_of_a_pod_that_is_well_or_that_stops() -> None:
    ready = {"type": "Ready", "status": "True"}
    assert diagnosis.of_pod(pod({"running": {}}, conditions=[ready]), [event("Unhealthy", "Readiness probe failed")], {}) is None
    stopping = pod({"terminated": {"exitCode": 1}})
    stopping["metadata"]["deletionTimestamp"] = "now"
    assert diagnosis.of_pod(stopping, [], {}) is None
    assert diagnosis.state(stopping) == "stopping"
