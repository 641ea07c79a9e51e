"""Transforms: steps that rewrite the header of a data set on its way; pure.

The way through the package: `schema` reads what a person wrote (`verbs`, `reader`, `names`) into `steps` and `items`;
`pipeline.prepare` runs them over a `tree` that `parse` makes of a data set's bytes, `record` tells what has changed,
and `write` gives the bytes of the new data set. `values` and `charsets` see that nothing invalid is written.
`rulebook` puts the transforms of a set of rule files beside its plan.
"""

from gateway.errors import TransformError
from gateway.transform.deidentify.pseudonyms import NO_KEYS, Key, Keys
from gateway.transform.pipeline import Prepared, prepare
from gateway.transform.rulebook import Rulebook, load
from gateway.transform.schema import Step, Transform, read_transforms
from gateway.transform.steps import Origin

__all__ = [
    "NO_KEYS",
    "Key",
    "Keys",
    "Origin",
    "Prepared",
    "Rulebook",
    "Step",
    "Transform",
    "TransformError",
    "load",
    "prepare",
    "read_transforms",
]
