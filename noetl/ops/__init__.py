"""The library behind the verbs: starts, watches and stops processes, and speaks to the server."""
