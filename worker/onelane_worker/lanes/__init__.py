"""The lanes: one FIFO of intents per address, one holder at a time, everything in Redis.

`store.LaneStore` is the door; the rules live in `scripts/*.lua`, one operation each.
"""
