"""Measurements on this machine; never part of the tests. `make bench-engine` runs `python -m
bench.engine`."""
