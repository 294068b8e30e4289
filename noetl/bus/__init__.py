"""NATS: the doorbell. It says that a command waits; losing a ring costs time, never work."""
