"""The configuration an Envoy starts with: how to find and trust the manager, and what it says of itself."""
