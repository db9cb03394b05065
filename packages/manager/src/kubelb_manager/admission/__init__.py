"""What of a tenant's well-formed objects fits beside others: limits per tenant, hosts between tenants (pure)."""
