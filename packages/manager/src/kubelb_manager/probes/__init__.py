"""Does a node port answer? Asked from here until an agent beside Envoy can ask."""
