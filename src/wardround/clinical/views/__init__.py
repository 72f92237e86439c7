"""SQL on FHIR v2: a ViewDefinition turns FHIR resources into rows of a table.

Its paths are FHIRPath, compiled once into closures, so that a view runs over many resources fast;
what a view asks for that this package does not know is refused when the view is read, never
guessed when it runs.
"""

from wardround.clinical.views.view import View, ViewColumn

__all__ = ["View", "ViewColumn"]
