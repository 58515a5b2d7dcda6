"""Until all importers say `results`; deleted then."""

from onelane.results import *  # noqa: F403
