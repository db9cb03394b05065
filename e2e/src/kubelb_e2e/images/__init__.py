"""The project's container images: made from the catalogue, without a network once their parts are there.

base.py     the image they are made from: chosen, and asked which Python, processor and C library it has
target.py   what a wheel must be made for
wheels.py   our wheels into dist/, and what they depend on into .tools/wheels
walk.py     which wheels a wheel depends on, on another Python than this one
build.py    `docker build` for each; what is built, what is missing

`build.build(names, base=None, say=print)` does all of it.
"""
