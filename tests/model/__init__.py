"""An executable specification of lane protocol v2: the scripts as methods on plain data, and random histories.

`python -m tests.model --histories N` plays histories of engines, producers, operators, Intercom and faults in
virtual time, and a judge watches. `python -m tests.model mutants` switches one rule off at a time and looks
whether the judge notices.

| module                                   | what it is                                                        |
| ---------------------------------------- | ----------------------------------------------------------------- |
| rules                                    | every rule of the protocol that can be switched off, by name      |
| state                                    | what Redis holds                                                  |
| placing, guards, granting, ending,       | the scripts, with the arguments and answers of `LaneStore`;       |
| submitting, scripts                      | each is atomic                                                    |
| law                                      | the state law: what is true after every script                    |
| clockwork                                | virtual time: processes, and their end                            |
| faults, intercom, broker, people         | what goes wrong; the API with a lagging index; wake-ups; producers and operators |
| engines, serving, writing                | an engine, how it serves a lane, how it writes                    |
| judge                                    | what must never happen, and what must have happened in the end    |
| suites, play, fleet, mutants, `__main__` | kinds of histories, one history, many, one rule off at a time     |
"""
