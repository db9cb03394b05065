"""What Config and Tenant come to once their precedence is applied (pure)."""
