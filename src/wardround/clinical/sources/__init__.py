"""Where records come from: each kind of source hands over the same thing, the values it found.

A source knows its file format and nothing of meaning; the mapping says which fields to read.
"""

from wardround.clinical.sources.delimited import read_csv
from wardround.clinical.sources.extract import Extract, RawColumn, RawValue
from wardround.clinical.sources.fhir import read_fhir

__all__ = ["Extract", "RawColumn", "RawValue", "read_csv", "read_fhir"]
