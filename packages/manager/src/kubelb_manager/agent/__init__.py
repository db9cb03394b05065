"""The agent beside each Envoy, in the same pod: it says whether Envoy serves, and lets it leave without a cut.

`admin` is what it asks Envoy, `drain` the order in which an Envoy leaves, `server` what the kubelet asks.
"""
