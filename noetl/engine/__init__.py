"""The engine: state and an input give the next state, commands and events. No I/O, no clock, no random numbers."""
