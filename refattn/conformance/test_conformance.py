"""One test for each property and format; refattn.conformance.session says which, and runs them."""

from __future__ import annotations

from refattn.conformance.session import Check


def test_property(refattn_check: Check) -> None:
    """The kernel has the property, or claims nothing that the property needs."""
    refattn_check.run()
