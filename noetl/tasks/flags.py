"""Help of the flags that several verbs share."""

JSON = {"json": "print JSON"}
FORCE = {"force": "kill what has not ended after the timeout"}
TIMEOUT = {"timeout": "seconds to wait for it to end by itself (default 10)"}
EXECUTION = {"execution-id": "the execution's id, as run and execution.list show it"}
