"""The verbs for Invoke's own `inv`."""

from noetl.tasks import ns

__all__ = ["ns"]
