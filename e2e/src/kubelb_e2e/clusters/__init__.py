"""Providers of clusters: `local` (no Docker), later `kind` and `existing`."""
