"""What a user of a peer would write for the measured work; each runs in that peer's environment."""
