"""Operator runtime without a word of load balancing: caches, queues, controllers, ordered start and stop."""
