"""One hit is updated; none, or several among which nobody can choose, are answered by a create, and a 409 by
another try. Seen in lead forms: rather one contact too many than a lead lost."""

from __future__ import annotations

from bench.policies.first_hit import FirstHit
from bench.policies.setting import Body


class CreateWhenSeveral(FirstHit):
    """Only a single hit is trusted."""

    def choose(self, hits: list[Body]) -> Body | None:
        return hits[0] if len(hits) == 1 else None
