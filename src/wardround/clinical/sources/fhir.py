"""Facts from FHIR R4 resources, in one pass, whatever files or servers they come from.

A resource that can't be used is set aside; it never stops the run. Values keep what they state:
the unit is the one in ``valueQuantity.code`` under the UCUM system, and a quantity with a
comparator is no exact value. An Observation that is not final says nothing yet.
"""

from __future__ import annotations

import gc
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardround.clinical.dates import read_fhir_date, read_fhir_moment
from wardround.clinical.facts import NO_UNIT, Extract, FactList, Facts, Records, record_key
from wardround.clinical.fhir.stream import Body, InBlocks, ResourceStream
from wardround.clinical.fields import (
    BIRTH_DATE,
    CONDITION,
    GENDER,
    MEDICATION,
    OBSERVATION_COMPONENT,
    OBSERVATION_DATE,
    OBSERVATION_VALUE,
    PROCEDURE,
    Choice,
    FhirField,
)
from wardround.clinical.graph import ConceptGraph, ConceptType
from wardround.clinical.provenance import SourceRead
from wardround.clinical.quarantine import Reason, SetAside
from wardround.clinical.reading import Read
from wardround.clinical.sources.fhir_elements import (
    LARGEST,
    UCUM,
    Element,
    as_object,
    coded_of,
    codings_of,
    finite,
    key_of,
    patient_of,
    quantity_of,
)
from wardround.clinical.sources.fhir_lines import (
    NOT_JSON,
    ONLY_PLAIN,
    PLAIN,
    USABLE_STATUS,
    Observation,
    PlainObservation,
    decoded,
    one_each,
    why_unreadable,
)
from wardround.trust.canonical import JSON

_REFUTED = ("refuted", "entered-in-error")
_NEVER = ("entered-in-error", "not-done", "cancelled", "draft")

RESOURCES: Final = {
    CONDITION: "Condition",
    PROCEDURE: "Procedure",
    MEDICATION: "MedicationRequest",
    BIRTH_DATE: "Patient",
    GENDER: "Patient",
}
"""The resource types of elements; every other element is of Observation."""


def read_resources(
    stream: ResourceStream,
    fields: Iterable[FhirField],
    graph: ConceptGraph,
    *,
    today: int,
    patient_identifier: str | None = None,
    keyed: bool = False,
    news: bool = False,
    deleted: Callable[[], Iterable[str]] = tuple,
) -> Extract:
    """Read ``fields`` from a stream of resources.

    A patient is one whom a Patient resource or a mapped resource names. ``keyed`` says that
    resources come again when they change: then facts remember which they are from, and of a
    resource that comes twice the later counts. With ``news`` these are only what has changed, so
    that also a resource that says nothing (any more) is kept in mind; ``deleted`` names, once the
    stream has ended, those that are gone (``Patient/7``).

    Raises what the stream raises.
    """
    reading = _Reading(stream, tuple(fields), graph, today, patient_identifier, keyed=keyed)
    reading.news = news
    reading.read()
    return reading.extract(deleted())


class _Target:
    """One field, and the facts found for it."""

    def __init__(self, field: FhirField, graph: ConceptGraph, *, keyed: bool) -> None:
        concept = graph.concept(field.concept)
        self.field = field
        self.type = concept.type
        self.codes = field.codes(graph)
        self.dated = field.choose in (Choice.LATEST, Choice.EARLIEST)
        self.found = FactList(dated=self.dated, keyed=keyed)
        self.plain = (
            field.element == OBSERVATION_VALUE
            and self.type is ConceptType.NUMERIC
            and not self.dated
            and not keyed
        )
        """Whether a number with a unit is all that a fact is."""


class _Plain:
    """Where the parts of a plain fact go: the appending methods of a target's arrays."""

    __slots__ = ("found", "patient", "place", "system", "unit", "units", "value")

    def __init__(self, system: str | None, found: FactList) -> None:
        self.system = system
        self.found = found
        self.patient = found.patients.append
        self.value = found.values.append
        self.unit = found.units.append
        self.place = found.places.append
        self.units = _Units(found)


class _Units(dict[str | None, int]):
    """The numbers of units by their code."""

    def __init__(self, found: FactList) -> None:
        super().__init__()
        self._found = found

    def __missing__(self, code: str | None) -> int:
        """Number a unit that was not seen before."""
        number = self[code] = NO_UNIT if code is None else self._found.unit(code)
        return number


class _Patients(dict[str, int]):
    """The numbers of patients by the reference to them; each way to write one is read once."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: dict[str, int] = {}

    def __missing__(self, reference: str) -> int:
        """Read a reference that was not seen before; negative where it names no patient."""
        name: str | None = reference[8:]
        if reference[:8] != "Patient/" or not name or "/" in name:
            name = patient_of(reference)
        number = _NO_PATIENT if name is None else self.numbers.setdefault(name, len(self.numbers))
        self[reference] = number
        return number


_NO_PATIENT: Final = -1


class _Reading:
    """What has been read so far from one source."""

    def __init__(
        self,
        stream: ResourceStream,
        fields: tuple[FhirField, ...],
        graph: ConceptGraph,
        today: int,
        patient_identifier: str | None,
        *,
        keyed: bool,
    ) -> None:
        self._stream = stream
        self._today = today
        self._system = patient_identifier
        self._keyed = keyed
        self._targets = [_Target(field, graph, keyed=keyed) for field in fields]
        self._births = [one for one in self._targets if one.field.element == BIRTH_DATE]
        self._genders = [one for one in self._targets if one.field.element == GENDER]
        self._by_code: dict[str, dict[tuple[JSON, JSON], list[_Target]]] = {}
        for target in self._targets:
            kind = RESOURCES.get(target.field.element, "Observation")
            for code in target.field.all_codes:
                self._by_code.setdefault(kind, {}).setdefault(
                    (target.field.system, code), []
                ).append(target)
        by_code = self._by_code.get("Observation", {})
        counts = Counter(code for _, code in by_code)
        self._plain = {
            code: _Plain(targets[0].field.system, targets[0].found)
            for (_, code), targets in by_code.items()
            if len(targets) == 1 and targets[0].plain and counts[code] == 1
        }
        self._careful_codes = {code for _, code in by_code} - set(self._plain)
        self._handlers: dict[JSON, Callable[[Element, int], None]] = {"Patient": self._patient}
        for kind in self._by_code:
            observed = kind == "Observation"
            self._handlers[kind] = self._observation if observed else self._presence
        self._references = _Patients()
        self.patients = self._references.numbers
        self._first_places: list[int] = []
        self._identifiers: dict[str, str | None] = {}
        self._set_aside: list[SetAside] = []
        self.news = False
        self._record_now = 0
        self._latest: dict[int, int] = {}  # from a resource to the place where it stood last
        self._named: list[tuple[int, int, int]] = []  # resource, patient, place
        self._set_aside_of: list[tuple[int, int]] = []  # resource, place
        self._blank = 0
        self.unreadable = 0

    def read(self) -> None:
        """Read the whole stream.

        A decoded block is some thousand objects that hold no cycles: the collector would only walk
        over them again and again.
        """
        collecting = gc.isenabled()
        gc.disable()
        try:
            self._read()
        finally:
            if collecting:
                gc.enable()

    def _read(self) -> None:
        if not isinstance(self._stream, InBlocks):
            for body, place in self._stream:
                self._take(body, place)
            return
        for block, place, count in self._stream.blocks():
            if isinstance(block, bytes):
                self._take_block(block, place, count)
            else:
                self._carefully(block, place)

    def _take(self, body: Body, place: int) -> None:
        """Read one resource, decoded or not."""
        if not isinstance(body, bytes):
            self._carefully(body, place)
        elif not body or body.isspace():
            self._blank += 1
        else:
            try:
                resource = decoded(body)
            except NOT_JSON:
                self._stream.refuse(place)
                self._unusable(place, why_unreadable(body))
                return
            self._carefully(resource, place)

    def _take_block(self, block: bytes, first_place: int, count: int) -> None:
        """Read lines that stand one after the other.

        What nearly all resources are, an Observation of one number, is decoded no further than
        that. A block of nothing else is read list by list, any other resource by resource; and
        whatever is not exactly that goes the careful way.
        """
        resources: Sequence[Observation] = []
        if self._plain and b"\0" not in block and one_each(block, count):
            try:
                if not block.isascii():
                    block.decode()
                if self._take_plain(ONLY_PLAIN.decode_lines(block), first_place):
                    return
            except NOT_JSON:
                pass  # or JSON of another form
            try:
                resources = PLAIN.decode_lines(block)
            except NOT_JSON:
                resources = []
        if len(resources) != count:
            whole = block.removesuffix(b"\n")
            for place, line in enumerate(whole.split(b"\n"), first_place):
                self._take(line, place)
            return
        plain, careful, usable, ucum = self._plain, self._careful_codes, USABLE_STATUS, UCUM
        references, first_places, handled = self._references, self._first_places, self._handlers
        lines: list[bytes] = []
        for place, resource in enumerate(resources, first_place):
            if resource.resourceType == "Observation":
                codings = resource.code.coding
                if len(codings) == 1:
                    coding = codings[0]
                    target = plain.get(coding.code)
                    if target is None:
                        if coding.code not in careful:
                            continue
                    elif coding.system == target.system and resource.status in usable:
                        quantity = resource.valueQuantity
                        value = quantity.value
                        patient = references[resource.subject.reference]
                        if (
                            value is not None
                            and -LARGEST <= value <= LARGEST
                            and quantity.comparator is None
                            and quantity.system == ucum
                            and patient >= 0
                        ):
                            target.unit(target.units[quantity.code])
                            target.value(value)
                            target.patient(patient)
                            target.place(place)
                            if patient == len(first_places):
                                first_places.append(place)
                            continue
            elif resource.resourceType not in handled:
                continue
            lines = lines or block.split(b"\n")
            self._take(lines[place - first_place], place)

    def _take_plain(self, resources: Sequence[PlainObservation], first_place: int) -> bool:
        """Read a block of nothing but plain Observations; False, and nothing done, for another.

        One list for each element instead of one turn of a loop for each resource takes half the
        time.
        """
        codings = [resource.code.coding[0] for resource in resources]
        codes = [coding.code for coding in codings]
        if not self._careful_codes.isdisjoint(codes):
            return False
        of_target: dict[str, list[int]] = {str(code): [] for code in self._plain}
        for at, code in enumerate(codes):
            if code in of_target:
                of_target[code].append(at)
        for code, some in of_target.items():
            if {codings[at].system for at in some} - {self._plain[code].system}:
                return False
        mapped = sorted(at for some in of_target.values() for at in some)
        patients = [self._references[resources[at].subject.reference] for at in mapped]
        if patients and min(patients) < 0:
            return False
        first_places = self._first_places
        for patient, at in zip(patients, mapped, strict=True):
            if patient == len(first_places):
                first_places.append(first_place + at)
        whose = patients if len(mapped) == len(codes) else dict(zip(mapped, patients, strict=True))
        for code, some in of_target.items():
            target, found = self._plain[code], self._plain[code].found
            quantities = [resources[at].valueQuantity for at in some]
            units = target.units
            found.units.extend([units[quantity.code] for quantity in quantities])
            found.values.extend([quantity.value for quantity in quantities])
            found.patients.extend([whose[at] for at in some])
            found.places.extend([first_place + at for at in some])
        return True

    def _carefully(self, resource: JSON, place: int) -> None:
        """Read one resource, whatever it is."""
        self._record_now = 0
        kind = resource.get("resourceType") if isinstance(resource, dict) else None
        if not isinstance(resource, dict) or not isinstance(kind, str):
            self._unusable(place)
            return
        handler = self._handlers.get(kind)
        if handler is not None:
            handler(resource, place)

    def _unusable(self, place: int, reason: Reason = Reason.UNREADABLE_LINE) -> None:
        self._record_now = 0
        self.unreadable += 1
        self._reject(reason, place)

    def extract(self, deleted: Iterable[str] = ()) -> Extract:
        """Everything that was read."""
        read = self._stream.read
        facts = {one.field.concept: one.found.facts() for one in self._targets}
        records, set_aside, alive = None, self._set_aside, None
        if self._keyed:
            records, alive = self._kept(deleted)
            facts = {concept: self._as_last_told(one) for concept, one in facts.items()}
            told = [self._is_last(*one) for one in self._set_aside_of]
            set_aside = [one for one, keep in zip(set_aside, told, strict=True) if keep]
        found = Extract(
            source=self._stream.name,
            read=SourceRead(
                read.source,
                read.query,
                read.resources - self._blank,
                read.parts,
                read.as_of,
                read.deleted,
            ),
            patients=tuple(self.patients),
            first_places=np.array(self._first_places, np.int64),
            facts=facts,
            set_aside=tuple(set_aside),
            where=self._stream.where,
            identifiers=self._identifiers if self._system is not None else None,
            unreadable=self.unreadable,
            records=records,
        )
        return found if alive is None else found.of_patients(alive)

    def _kept(self, deleted: Iterable[str]) -> tuple[Records, NDArray[np.bool_]]:
        """The resources as they stood last, those that are gone, and who is named by any."""
        named = [one for one in self._named if self._is_last(one[0], one[2])]
        about = {record: patient for record, patient, _ in named if record}
        rows = [(record, about.get(record, -1), place) for record, place in self._latest.items()]
        rows += [one for one in named if not one[0]]
        gone = {record_key(*one.partition("/")[::2]) for one in deleted} - self._latest.keys()
        rows += [(record, -1, 0) for record in sorted(gone)]
        keys, patients, places = np.array(rows, np.int64).reshape(-1, 3).T
        told = [record for record, place in self._set_aside_of if self._is_last(record, place)]
        alive = np.zeros(len(self.patients), np.bool_)
        alive[patients[patients >= 0]] = True
        return Records(keys, patients, places, np.array(told, np.int64)), alive

    def _is_last(self, record: int, place: int) -> bool:
        return not record or self._latest.get(record, place) == place

    def _as_last_told(self, facts: Facts) -> Facts:
        """Without what resources said that came again later in the same stream."""
        if not len(facts):
            return facts
        last = np.fromiter(
            map(self._latest.get, facts.records.tolist(), facts.places.tolist()), np.int64
        )
        keep = (facts.records == 0) | (last == facts.places)
        return facts if keep.all() else facts.where(keep)

    def _patient(self, resource: Element, place: int) -> None:
        name = resource.get("id")
        if not isinstance(name, str) or not name:
            self._reject(Reason.NO_PATIENT_ID, place)
            return
        record = self._record(resource, place, told=True)
        patient = self._number(name, place)
        if self._system is not None:
            self._identify(name, resource)
        if isinstance(birth := resource.get("birthDate"), str):
            for target in self._births:
                target.found.add(patient, self._day(birth), None, math.nan, place, record)
        if isinstance(gender := resource.get("gender"), str):
            for target in self._genders:
                value = target.codes.get(gender, Reason.UNKNOWN_CATEGORY)
                target.found.add(patient, value, None, math.nan, place, record)

    def _identify(self, name: str, resource: Element) -> None:
        """Keep the hospital's own number of a patient, if there is exactly one."""
        listed = resource.get("identifier")
        found = {
            value
            for one in map(as_object, listed if isinstance(listed, list) else ())
            if one.get("system") == self._system and isinstance(value := one.get("value"), str)
        }
        if self._keyed:  # a resource that comes again because it changed is no contradiction
            self._identifiers.pop(name, None)
        for one in found:
            known = self._identifiers.setdefault(name, one)
            self._identifiers[name] = one if known == one else None

    def _observation(self, resource: Element, place: int) -> None:
        targets = self._found(resource.get("code"), self._by_code["Observation"])
        # A resource that no longer counts must still replace what it said before.
        record = self._record(resource, place, told=bool(targets))
        if not targets:
            return
        if resource.get("status") not in USABLE_STATUS:
            self._reject(Reason.NOT_FINAL, place)
            return
        patient = self._subject(resource, place)
        if patient is None:
            return
        for target in targets:
            found = self._value(resource, target)
            if found is not None:
                day = self._moment(resource) if target.dated else math.nan
                target.found.add(patient, found[0], found[1], day, place, record)

    def _presence(self, resource: Element, place: int) -> None:
        """A diagnosis, procedure or medication that a patient has or had.

        A prescription that was stopped counts as the drug's use, like one that is active, on hold
        or completed: FHIR R4 calls it ``cancelled`` if it was withdrawn before any administration,
        and ``stopped`` if some had occurred, so the patient was exposed until then (as in OMOP's
        ``drug_exposure``, where stopping ends an exposure and doesn't undo it). A procedure that
        was stopped was not carried out in full, and doesn't count.
        """
        kind = resource["resourceType"]
        assert isinstance(kind, str)
        medication = kind == "MedicationRequest"
        concept = resource.get("medicationCodeableConcept" if medication else "code")
        targets = self._found(concept, self._by_code[kind])
        record = self._record(resource, place, told=bool(targets))
        if not targets:
            return
        verified = [code.get("code") for code in codings_of(resource.get("verificationStatus"))]
        status = resource.get("status")
        if (
            status in _NEVER
            or (status == "stopped" and not medication)
            or resource.get("doNotPerform") is True
            or any(one in _REFUTED for one in verified)
        ):
            self._reject(Reason.NOT_FINAL, place)
            return
        patient = self._subject(resource, place)
        if patient is None:
            return
        for target in targets:
            target.found.add(patient, 1.0, None, math.nan, place, record)

    def _value(self, resource: Element, target: _Target) -> tuple[Read, str | None] | None:
        """The value of a mapped Observation and its UCUM unit; None where there is none."""
        element = target.field.element
        if element == OBSERVATION_DATE:
            date = resource.get("effectiveDateTime")
            return (self._day(date), None) if isinstance(date, str) else None
        if element != OBSERVATION_COMPONENT:
            return self._written(resource, target)
        wanted = (target.field.component_system, target.field.component_code)
        components = resource.get("component")
        for component in map(as_object, components if isinstance(components, list) else ()):
            if any(key_of(coding) == wanted for coding in codings_of(component.get("code"))):
                return self._written(component, target)
        return None

    def _written(self, holder: Element, target: _Target) -> tuple[Read, str | None] | None:
        if (quantity := holder.get("valueQuantity")) is not None:
            found = quantity_of(as_object(quantity))
            if found is not None and target.type is not ConceptType.NUMERIC:
                return Reason.UNKNOWN_CATEGORY, None
            return found
        if isinstance(boolean := holder.get("valueBoolean"), bool):
            known = target.type is ConceptType.BOOLEAN
            return (float(boolean) if known else Reason.UNREADABLE_NUMBER), None
        integer = holder.get("valueInteger")
        if isinstance(integer, int) and not isinstance(integer, bool):
            if target.type is not ConceptType.NUMERIC:
                return Reason.UNKNOWN_CATEGORY, None
            # It carries no unit: it is a plain number unless the steward says otherwise.
            return finite(integer), "1" if target.field.unit is None else None
        if isinstance(date := holder.get("valueDateTime"), str):
            known = target.type is ConceptType.DATE
            return (self._day(date) if known else Reason.UNREADABLE_NUMBER), None
        return coded_of(holder.get("valueCodeableConcept"), target.field.value_system, target.codes)

    def _day(self, text: str) -> Read:
        day = read_fhir_date(text)
        return Reason.IMPOSSIBLE_DATE if not isinstance(day, Reason) and day > self._today else day

    def _moment(self, resource: Element) -> float:
        """When a value is of, as a day with its time as a fraction; NaN where that isn't told."""
        written = resource.get("effectiveDateTime")
        if not isinstance(written, str) or isinstance(self._day(written), Reason):
            return math.nan
        found = read_fhir_moment(written)
        return math.nan if found is None else found

    @staticmethod
    def _found(code: JSON, by_code: dict[tuple[JSON, JSON], list[_Target]]) -> list[_Target]:
        found: list[_Target] = []
        for coding in codings_of(code):
            targets = by_code.get(key_of(coding))
            if targets is not None:
                found += [one for one in targets if one not in found]
        return found

    def _subject(self, resource: Element, place: int) -> int | None:
        reference = as_object(resource.get("subject")).get("reference")
        number = self._references[reference] if isinstance(reference, str) else _NO_PATIENT
        if number == _NO_PATIENT:
            self._reject(Reason.NO_PATIENT_ID, place)
            return None
        return self._seen(number, place)

    def _number(self, name: str, place: int) -> int:
        return self._seen(self.patients.setdefault(name, len(self.patients)), place)

    def _seen(self, number: int, place: int) -> int:
        # Numbers are given in order, but one may have been given by a resource that was refused.
        while number >= len(self._first_places):
            self._first_places.append(place)
        if self._keyed:
            self._named.append((self._record_now, number, place))
        return number

    def _record(self, resource: Element, place: int, *, told: bool) -> int:
        """Keep in mind that a resource was seen; ``told``: whether a field is about it."""
        kind, name = resource.get("resourceType"), resource.get("id")
        if not self._keyed or not isinstance(name, str):
            return 0
        record = record_key(str(kind), name)
        # What no field is about replaces nothing, unless it was one of those before.
        if told or self.news or record in self._latest:
            self._latest[record] = place
            self._record_now = record
        return record

    def _reject(self, reason: Reason, place: int) -> None:
        self._set_aside.append(SetAside(reason, self._stream.where(place), record=False))
        if self._keyed:
            self._set_aside_of.append((self._record_now, place))


__all__ = ["read_resources"]
