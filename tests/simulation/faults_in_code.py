"""Deliberate faults in the product, each of which must break a promise: a search that never finds anything
proves nothing.

Most are mistakes that the first models of the protocol made; the others switch off a rule that somebody might
think unneeded. Where two rules guard the same thing, the fault takes both away.
"""

from __future__ import annotations

from .faults_in_lanes import IN_LANES
from .faults_in_rules import IN_RULES

CODE_FAULTS = (*IN_LANES, *IN_RULES)
