"""What the manager would make of objects in files: the same pure functions over caches that no cluster feeds."""
