"""Wardround trains one clinical model across hospitals that never share a patient record."""

from wardround.errors import WardroundError, WardroundErrors

__all__ = ["WardroundError", "WardroundErrors", "__version__"]
__version__ = "0.1.0"
