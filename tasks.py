"""The verbs for Invoke's own `inv`, and its `-H`."""

from noetl.tasks import core_flags, ns

core_flags.add_to_loading_program()

__all__ = ["ns"]
