"""Test applications: programs of their own that start quickly, run as pods."""
