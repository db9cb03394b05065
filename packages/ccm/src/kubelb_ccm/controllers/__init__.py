"""Thin shells: a key comes in, writes go out. What is written is decided in `export` and `sources`."""
