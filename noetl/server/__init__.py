"""The server: stateless but for what it remembers of the database. Run it with `python -m noetl.server`."""
