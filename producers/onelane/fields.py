"""Until all importers say `validation`; deleted then."""

from onelane.validation import *  # noqa: F403
