"""From a hospital's records to one table of features in memory.

Sources are read as they are; an approved mapping says what each field means by a path through the
concept graph; harmonisation brings values to one unit and form, and sets aside, with a reason,
every record it can't use.
"""

from wardround.clinical.concept import Code, Concept, ConceptType, Derivation, Label, ValueMap
from wardround.clinical.formulas import Column
from wardround.clinical.graph import ConceptGraph
from wardround.clinical.harmonise import harmonise
from wardround.clinical.mapping import MAPPING_TYPE, Mapping
from wardround.clinical.provenance import ColumnProvenance, FileRead
from wardround.clinical.quarantine import Quarantine, Reason, SetAside
from wardround.clinical.route import Route
from wardround.clinical.split import test_mask
from wardround.clinical.table import FeatureTable
from wardround.clinical.units import Conversion, UnitPath

__all__ = [
    "MAPPING_TYPE",
    "Code",
    "Column",
    "ColumnProvenance",
    "Concept",
    "ConceptGraph",
    "ConceptType",
    "Conversion",
    "Derivation",
    "FeatureTable",
    "FileRead",
    "Label",
    "Mapping",
    "Quarantine",
    "Reason",
    "Route",
    "SetAside",
    "UnitPath",
    "ValueMap",
    "harmonise",
    "test_mask",
]
