"""Real clusters on one machine, and the scenarios that judge the product from outside."""
