"""The lanes: one FIFO of intents per address, one holder at a time, everything in Redis."""
