"""From a hospital's records to one table of features in memory.

Sources are read as they are; an approved mapping says what each field means by a path through the
concept graph; harmonisation brings values to one unit and form, and sets aside, with a reason,
every record it can't use.
"""

from wardround.clinical.graph import Concept, ConceptGraph, ConceptType, Derivation
from wardround.clinical.units import Conversion, UnitPath

__all__ = ["Concept", "ConceptGraph", "ConceptType", "Conversion", "Derivation", "UnitPath"]
