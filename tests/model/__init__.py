"""An executable specification of lane protocol v2: scripts as methods on plain data, and random histories.

`python -m tests.model --histories N` plays histories of engines, producers, operators, Intercom and faults in
virtual time, and a judge watches. `python -m tests.model mutants` switches one rule off at a time and looks
whether the judge notices.

rules        every rule of the protocol that can be switched off, by name
state        what Redis holds
placing …    the scripts, with the arguments and answers of `LaneStore`, each atomic: placing and guards are
             what they share, offering grants one lane, granting is claim and tick, leased and ending are the
             steps under a lease, submitting is for producers and operators; scripts has them all
law          the state law: what is true after every script
world        virtual time, and calls over a network that loses, repeats and delays
faults, intercom, people
             what goes wrong; the API with an index that lags; producers, operators, the broker
engines, attempt, serving, writing
             an engine, and how it serves a lane and writes
judge, verdict
             what must never happen, and what must have happened in the end
history, suites, play, fleet, mutants
             one history, kinds of them, one by its number, many, and those with a rule off
drawn, twin, stored
             random calls on the model and on the real scripts, and the comparison of what is stored
"""
