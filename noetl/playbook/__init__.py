"""Playbooks: text to typed values, and the templates in them. No I/O."""
