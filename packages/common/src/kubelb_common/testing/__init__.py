"""Parts that tests of every package stand on: a fake API server, a real one, builders, goldens."""
