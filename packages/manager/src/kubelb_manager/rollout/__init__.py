"""Which version of each object is live: make before break, one object at a time."""
