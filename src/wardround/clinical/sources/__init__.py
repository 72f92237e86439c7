"""Where records come from: each kind of source hands over the same thing, the facts it found.

A source knows its form and nothing of meaning; the mapping says which fields to read.
"""

from wardround.clinical.sources.columnar import read_table
from wardround.clinical.sources.fhir import read_resources

__all__ = ["read_resources", "read_table"]
