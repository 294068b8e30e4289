"""Where a step's result can be written: one file a kind, each with a `run(call)` that finds what to write in `call.data`."""
