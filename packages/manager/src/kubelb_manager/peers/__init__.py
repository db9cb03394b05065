"""What replicas of the manager tell the leader: how far the Envoys are that are connected to them (ruling 12)."""
