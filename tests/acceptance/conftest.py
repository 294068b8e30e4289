"""The fixtures of the stories."""

from acceptance_home import made_before, operator, playbook, settled
from breakable import crew, effects, idle, own, own_home, platform, shared, whole

__all__ = ["crew", "effects", "idle", "made_before", "operator", "own", "own_home", "platform", "playbook", "settled", "shared", "whole"]
