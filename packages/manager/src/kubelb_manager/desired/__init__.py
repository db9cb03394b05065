"""The Kubernetes objects that the manager wants to exist in the management cluster (pure).

Each function returns a whole object as it would be created. Where the live object holds things
that a server or others filled in, `live.updated` carries them over and tells whether to write.
"""
