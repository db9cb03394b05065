"""Pure: a tenant's objects become objects of our contract, and what the contract answers is read back."""
