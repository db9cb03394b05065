"""The node agent: runs the pods that are bound to one node of the lab, as a kubelet does where it matters here."""
