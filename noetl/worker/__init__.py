"""The worker: takes commands, runs each tool call in a child process of its own, reports."""
