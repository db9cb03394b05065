"""The shells: a key in, writes out. No field is mapped here and no protocol is spoken."""
