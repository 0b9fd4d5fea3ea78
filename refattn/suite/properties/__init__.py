"""The properties of the conformance suite, one family a file: a property's first word is the name of its file.

A property is added to its family's PROPERTIES, and its planted fault to tests/support/faults_by_property.py.
"""

from refattn.suite.properties import (
    approximation,
    determinism,
    gradients,
    invariance,
    lse,
    memory,
    softmax,
    specials,
    statistics,
    values,
    visibility,
)
from refattn.suite.property import Property

# In the order in which they run within their stage.
ALL: tuple[Property, ...] = (
    *values.PROPERTIES,
    *lse.PROPERTIES,
    *visibility.PROPERTIES,
    *approximation.PROPERTIES,
    *specials.PROPERTIES,
    *gradients.PROPERTIES,
    *memory.PROPERTIES,
    *determinism.PROPERTIES,
    *invariance.PROPERTIES,
    *gradients.IDENTITIES,
    *softmax.PROPERTIES,
    *statistics.PROPERTIES,
)
