"""The hinge: left of it Kubernetes, right of it Envoy. Frozen values; neither side's types."""
