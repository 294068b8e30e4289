"""The fixtures of the stories."""

from acceptance_home import operator, playbook

__all__ = ["operator", "playbook"]
