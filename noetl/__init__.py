"""NoETL: a workflow engine for YAML playbooks, and the toolkit that runs it."""

__version__ = "0.1.0"
