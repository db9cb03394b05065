"""Pure: what differs between the kinds of source objects; one file each.

An adapter answers four questions about an object of its kind: is it ours, which Services does it name, what does a
Route's answer mean for its status, and what is its status now. It decides nothing and raises for nothing that an
API server accepts.
"""
