"""Until all importers say `email_address`; deleted then."""

from onelane.email_address import *  # noqa: F403
