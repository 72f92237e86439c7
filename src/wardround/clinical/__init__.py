"""From a hospital's records to one table of features in memory.

Sources are read as they are; an approved mapping says what each field means by a path through the
concept graph; harmonisation brings values to one unit and form, and sets aside, with a reason,
every record it can't use.
"""

from wardround.clinical.graph import Concept, ConceptGraph, ConceptType, Derivation
from wardround.clinical.harmonise import harmonise
from wardround.clinical.mapping import MAPPING_TYPE, Mapping
from wardround.clinical.provenance import ColumnProvenance, FileRead
from wardround.clinical.quarantine import Quarantine, Reason, SetAside
from wardround.clinical.split import test_mask
from wardround.clinical.table import FeatureTable
from wardround.clinical.units import Conversion, UnitPath

__all__ = [
    "MAPPING_TYPE",
    "ColumnProvenance",
    "Concept",
    "ConceptGraph",
    "ConceptType",
    "Conversion",
    "Derivation",
    "FeatureTable",
    "FileRead",
    "Mapping",
    "Quarantine",
    "Reason",
    "SetAside",
    "UnitPath",
    "harmonise",
    "test_mask",
]
