"""The agent in a tenant cluster: carries Services and Ingresses to the management cluster."""
