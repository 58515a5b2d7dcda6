"""Time and memory, measured on this machine: `python -m bench`. Never part of the tests."""
