"""Help of the flags that several verbs share."""

JSON = {"json": "print JSON"}
FORCE = {"force": "kill what has not ended after the timeout"}
TIMEOUT = {"timeout": "seconds to wait for it to end by itself (default 10)"}
EXECUTION = {"execution-id": "the execution's id, as run and execution.list show it"}
ALL = -1
LOGS = {
    "follow": "go on with the lines to come",
    "lines": "how many of the last lines (default 50; with --since all)",
    "since": "the lines since then: 10m, 2h, 1d ago, or a time like 2026-01-31T09:00:00Z (without Z it is local)",
}
FOREGROUND = {"foreground": "stay in front: log here, pass signals on, end with it (as a container's first process it always does)"}
SETS = {"set": "key=value laid over the values, any number of times: worker.replicas=3"}
BUILDING = {
    "no-cache": "run every step of the build again",
    "build-arg": "NAME=VALUE of docker/Dockerfile, any number of times: PYTHON_IMAGE, RUNTIME_IMAGE, UI_IMAGE, PIP_INDEX_URL …",
    "network": "network of the build's steps, as in host",
}
ENVIRONMENT = {"env": "the environment: k8s/ENV.yaml over the values, and a target of its own"}
