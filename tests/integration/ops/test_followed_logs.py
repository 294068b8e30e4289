"""On a real cluster: logs that are followed."""

from __future__ import annotations

from kube import deployment

from noetl.ops import cluster as deploys
from noetl.ops import pod_logs
from noetl.ops.cluster import Options
from noetl.ops.kube_api import Api

LIVES = """
import time
print(*(f"line {number}" for number in range(60)), sep="\\n", flush=True)
time.sleep(8)
print("it ends", flush=True)
raise SystemExit(1)
"""


def test_a_container_that_is_started_anew_is_followed_from_its_first_line(cluster: Api, namespace: str) -> None:
    made = deploys.prepared([deployment(namespace, code=LIVES)], image="noetl:1")
    deploys.deploy(cluster, namespace, made, Options(timeout=60))
    read: list[str] = []
    for pod, line in pod_logs.follow(cluster, namespace, "web", 5):
        assert pod.startswith("web-")
        read.append(line)
        if read.count("it ends") == 2:
            break
    assert [one for one in read if one.startswith(("line ", "it ends"))] == [
        *(f"line {number}" for number in range(55, 60)),
        "it ends",
        *(f"line {number}" for number in range(60)),
        "it ends",
    ]
