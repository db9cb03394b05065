"""From the contract's objects to the intermediate representation, and what to say about them (pure).

    Route        --route.translate_route------------------> Part, verdicts, copy
    LoadBalancer --load_balancer.translate_load_balancer--> Part, verdicts, copy
    Parts        --merge.merge----------------------------> Fleet

Everything that arrives here is a tenant's and hostile until `acceptance` has passed it.
"""
