"""What a step can run: one file a kind. Tools run in a worker's child processes and do not know each other."""
