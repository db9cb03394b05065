"""The program `kubelb`: what a tenant's people do in the management cluster, with the tenant's credential."""
