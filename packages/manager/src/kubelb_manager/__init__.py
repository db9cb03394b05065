"""The operator and Envoy control plane of the management cluster."""
