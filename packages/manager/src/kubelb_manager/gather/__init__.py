"""From the stores to one frozen bundle for a fleet: the only reader of stores on the snapshot's way."""
