"""Which ticker goes to which connection: pure functions."""
