"""Pure helpers over raw Kubernetes objects."""
