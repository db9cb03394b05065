"""Stand-ins for Docker, kind and the clusters that kind makes, for tests of the harness without Docker.

programs.py  `docker`, `kind`, `quick-kubectl` as executables: they hand their command line to the engine and print its answer
stage.py     one engine, its programs and its API servers for a test, in a thread of their own
engine.py    Docker's objects, and the answers to the calls that the harness makes
kind.py      clusters of such containers
kubectl.py   the little of kubectl that takes no time
says.py      what the real programs print when something is wrong
apis.py      an API server for each cluster, good enough for the real kubectl
command.py   `kubelb-e2e` as a process of its own, on a machine with room
"""
