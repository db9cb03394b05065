"""From the IR to Envoy's words: clusters, endpoints, listeners and routes as serialised, versioned resources."""
