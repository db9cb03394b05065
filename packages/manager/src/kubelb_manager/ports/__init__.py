"""Which port of Envoy serves which port of a LoadBalancer (pure)."""
