"""The `local` provider: real control planes as processes, nodes and pods as network namespaces."""
