"""The conformance suite: every property, in the order in which they run within their stage."""

from refattn.suite.base import PROFILES, Context, Observation, Profile, Property
from refattn.suite.properties import (
    approximation,
    gradients,
    identities,
    invariance,
    memory,
    softmax,
    specials,
    statistics,
    values,
    visibility,
)

ALL: tuple[Property, ...] = (
    *values.PROPERTIES,
    *visibility.PROPERTIES,
    *approximation.PROPERTIES,
    *specials.PROPERTIES,
    *gradients.PROPERTIES,
    *memory.PROPERTIES,
    *invariance.PROPERTIES,
    *identities.PROPERTIES,
    *softmax.PROPERTIES,
    *statistics.PROPERTIES,
)

__all__ = ["ALL", "PROFILES", "Context", "Observation", "Profile", "Property"]
