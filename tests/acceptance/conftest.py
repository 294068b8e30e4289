"""The fixtures of the stories."""

from acceptance_home import operator, playbook
from breakable import crew, effects, idle, own, own_home, shared, whole

__all__ = ["crew", "effects", "idle", "operator", "own", "own_home", "playbook", "shared", "whole"]
