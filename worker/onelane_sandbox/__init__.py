"""Our Intercom: the contacts API with a lagging search index and faults on demand.

Two halves, and nothing in either imports the rest of the project: a simulator that shared the client's
code would share its mistakes.

* The pure half (`rules` and the rooms it is built from) is a state machine. Time is an argument, randomness
  comes from a seed, and there is no I/O, so a simulation can drive years of it in a second.
* The shell (`server`, `serve`, `control`, `client`, `plugin`) puts that machine behind a real socket, where a
  response can really be lost.

Where the evidence about Intercom is missing or contradicts itself, the behaviour is a switch (`switches`),
and a correct client is correct under every value of it.
"""
