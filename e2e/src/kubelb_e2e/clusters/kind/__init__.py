"""Provider `kind`: clusters in Docker containers, all on one Docker network of the lab's own.

plan.py       what a lab consists of, decided before anything starts (pure)
preflight.py  what this machine must offer, asked before anything starts
docker_net.py the lab's network, which is also the proof of what is the lab's own
cluster.py    one cluster, by pytest-kind
faults.py     what kind says, in words that tell cause and cure (pure)
carry.py      images onto nodes
addresses.py  LoadBalancer addresses on nodes; a process that lives as long as the lab
lab.py        a running lab
provider.py   up, find, down
"""
