"""Breaks a stack of its own in a planned way, and proves from the database that nothing was lost."""
