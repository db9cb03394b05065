"""`kubelb-ccm status`: what the agent sees of both clusters, read once, by its own credentials."""
