"""Engines that noetl is measured beside, each in an environment of its own. Nothing here is a dependency of noetl."""
