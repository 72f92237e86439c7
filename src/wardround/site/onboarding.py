"""From "here is our EHR" to a mapping that a steward can sign, for commands and consoles.

Each step is a method that takes and returns plain values. Nothing is mapped but by a call that
names field and concept; what a step shows may hold patients' values and stays in the hospital.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from collections.abc import Mapping as ReadOnly
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path

from wardround.clinical import ConceptGraph, FeatureTable, Mapping
from wardround.clinical.fields import AnyField, ColumnField, OmopField
from wardround.clinical.harmonise import Harmonised
from wardround.clinical.mapping import ColumnarSource, OmopSource, Source
from wardround.clinical.opening import Surroundings, omop_column, open_omop, open_table, rows_of
from wardround.clinical.profile import FieldProfile
from wardround.clinical.provenance import SourceRead
from wardround.clinical.quality import (
    Check,
    Finding,
    Level,
    Material,
    Override,
    Overrides,
    load_overrides,
    sign_overrides,
)
from wardround.clinical.quality.page import ProfileRow, Usage, write_profile
from wardround.clinical.quarantine import Reason
from wardround.clinical.samples import read_cells, read_samples, read_texts
from wardround.clinical.suggest import LIKELY, Suggester, Suggestion
from wardround.clinical.survey import Long, survey
from wardround.errors import WardroundError
from wardround.governance.files import write_whole
from wardround.site import drafts
from wardround.site.home import SiteHome
from wardround.site.judging import federation_in, harmonised_of, judge, material_for
from wardround.site.locating import describe_place
from wardround.study import Study

_NOISE = 0.05


@dataclass(frozen=True, repr=False)
class Shown:
    """A mapped field as the steward sees it: its path in words, five values before and after."""

    concept: str
    source: str
    path: tuple[str, ...]
    before: tuple[str, ...]
    after: tuple[str, ...]


@dataclass(frozen=True, repr=False)
class Preview:
    """What a study would get: *N used of M*, why not the rest, and the way to each concept."""

    used: int
    records: int
    set_aside: ReadOnly[str, int]
    resources: ReadOnly[str, int]
    paths: ReadOnly[str, tuple[str, ...]]
    reads: tuple[SourceRead, ...]
    """What was read for all of it: source, query or files, rows and digests."""
    findings: tuple[Finding, ...]


class Onboarding:
    """The data of one hospital, as its steward gets to know and describe them."""

    def __init__(
        self, home: SiteHome, graph: ConceptGraph | None = None, path: Path | None = None
    ) -> None:
        self.home = home
        self.graph = graph or ConceptGraph.load()
        self.path = path or home.mapping_file

    @property
    def mapping(self) -> Mapping:
        """The mapping as it stands, signed or not."""
        if not self.path.exists():
            raise WardroundError(
                "WR-DATA-010",
                "There is no mapping yet, since no source of records was added.",
                "Add a source first: wardround site data add FOLDER PLACE --name NAME.",
                path=self.path.name,
            )
        return Mapping.load(self.path, self.graph)

    def add(
        self, place: str, name: str, kind: str | None, more: ReadOnly[str, object]
    ) -> tuple[FieldProfile, ...]:
        """Add a source and survey it; ``more`` are further keys of the mapping's source.

        A table needs ``patient``, the column that names the patient (None where each row is one).
        The source is only kept if it can be read; a server is asked for a sample.
        """
        found = {"name": name, **describe_place(place, self.path.parent.resolve(), kind), **more}
        table = found["kind"] in ("csv", "parquet", "excel", "sql")
        if table and not {"patient", "rows_are_patients"} & found.keys():
            raise WardroundError(
                "WR-DATA-029",
                "A table needs the column that names the patient.",
                "Give it with --patient COLUMN, or say --row-is-patient where there is none.",
                path=name,
            )
        before = drafts.as_it_is(self.path)
        mapping = drafts.add_source(self.path, found, self.graph)
        try:
            source = next(one for one in mapping.sources if one.name == name)
            return self._survey(source)
        except BaseException:  # an interrupt too: what nobody has confirmed is not kept
            if before is None:
                self.path.unlink()
            else:
                write_whole(self.path, before)
            raise

    def profiles(
        self, source: str | None = None, long: Long | None = None
    ) -> tuple[FieldProfile, ...]:
        """Describe the fields of one source, or of all."""
        mapping = self.mapping
        names = [one.name for one in mapping.sources]
        if source is not None and source not in names:
            raise drafts.unknown_source(source, names)
        return tuple(
            profile
            for one in mapping.sources
            if source in (None, one.name)
            for profile in self._survey(one, long)
        )

    def suggest(
        self, wanted: Sequence[str], profiles: Sequence[FieldProfile]
    ) -> ReadOnly[str, tuple[Suggestion, ...]]:
        """For each concept, the five likeliest fields, each with its reasons.

        Where no field is likely, what the concept is computed from is looked for as well, and
        what that is computed from: an age is got from the day of birth.
        """
        found = dict(self._suggester.find(profiles, wanted))
        last = wanted
        for _ in range(2):
            inputs = [
                one
                for concept in last
                if not any(hit.score >= LIKELY for hit in found[concept])
                for derivation in self.graph.derivations(concept)
                for one in derivation.inputs
            ]
            last = [one for one in dict.fromkeys(inputs) if one not in found]
            found.update(self._suggester.find(profiles, last))
        return {
            concept: tuple(hit for hit in hits if hit.score >= _NOISE)
            for concept, hits in found.items()
        }

    def meanings(self, profile: FieldProfile) -> tuple[Suggestion, ...]:
        """For one field, the five likeliest concepts, each with its reasons."""
        return self._suggester.rank(profile)

    def map(self, source: str, field: ReadOnly[str, object], index_date: bool = False) -> Shown:
        """Map a field, as a person decided; show what becomes of its values."""
        before = drafts.as_it_is(self.path)
        concept = str(field["concept"])
        try:
            drafts.add_field(self.path, source, field, self.graph)
            if index_date:
                drafts.set_index_date(self.path, concept, self.graph)
            return self.shown(concept)
        except BaseException:  # an interrupt too
            if before is not None:
                write_whole(self.path, before)
            raise

    def shown(self, concept: str) -> Shown:
        """A mapped field, with five of its different values before and after."""
        mapping = self.mapping
        source, field = next((s, f) for s, f in mapping.all_fields() if f.concept == concept)
        harmonised = self._harmonised(mapping, [concept])
        values = harmonised.mapped(concept)
        today = datetime.now(UTC).date().toordinal()
        if isinstance(field, ColumnField) and isinstance(source, ColumnarSource):
            table = open_table(source, self.path.parent)
            before, after = read_cells(table, field, source.decimal, today, self.graph)
        elif isinstance(field, OmopField) and isinstance(source, OmopSource):
            # The unit is for rows that state none.
            column = omop_column(field).model_copy(update={"unit": field.unit})
            with open_omop(source, self.path.parent) as omop:
                before, after = read_cells(rows_of(omop, field), column, ".", today, self.graph)
        else:
            facts, _ = harmonised.warehouse.facts(concept, harmonised.linked)
            before, after = read_samples(facts, field, self.graph)
        return Shown(concept, source.name, values.steps, before, after)

    def preview(
        self, study: Study, today: date | None = None, left_out: Collection[str] | None = None
    ) -> Preview:
        """What ``study`` would get of the records as mapped now, and what the checks say.

        Whom the hospital's signed list leaves out is set aside, as in a run; or ``left_out``, where
        that is about to take its place.
        """
        material, table, harmonised = self._material(study, left_out)
        findings = self.findings(study, material, today)
        wanted = dict.fromkeys((*study.data.features, study.data.outcome))
        provenance = {one: harmonised.provenance(one) for one in wanted}
        return Preview(
            used=len(table),
            records=table.records_total,
            set_aside=table.quarantine.summary(),
            resources=table.quarantine.resources(),
            paths={one: found.path for one, found in provenance.items()},
            reads=tuple({read: None for one in provenance.values() for read in one.reads}),
            findings=findings,
        )

    def findings(
        self, study: Study, material: Material, today: date | None = None
    ) -> tuple[Finding, ...]:
        """What the checks find, with what the steward lets pass."""
        return judge(self.home.hospital, study, self._overrides(study), material, today)

    def override(
        self,
        study: Study,
        which: Check,
        concept: str | None,
        reason: str,
        steward: str,
        until: date,
    ) -> Overrides:
        """Let one block pass, signed, for this study and mapping until ``until``.

        It lapses before that day if what was found gets much worse.
        """
        today = datetime.now(UTC).date()
        home, mapping = self.home, self.mapping
        known = self._overrides(study)
        found = self.preview(study).findings
        about = [one for one in found if (one.check, one.concept) == (which, concept)]
        held_up = [one for one in about if one.level is Level.BLOCK or one.override]
        if not held_up:
            blocks = [one for one in found if one.level is Level.BLOCK]
            names = ", ".join(f"{one.check.value} {one.concept or ''}".strip() for one in blocks)
            raise WardroundError(
                "WR-DATA-079",
                f"The check {which.value} does not block here"
                + (f" for {concept}." if concept else "."),
                f"What blocks: {names or 'nothing'}. Name it as `wardround site data check` does.",
                path=which.value,
            )
        badness = max((one.badness for one in held_up if one.badness is not None), default=None)
        statement = Override(which, concept, reason, steward, today, until, badness)
        kept = tuple(
            one for one in known.statements if (one.check, one.concept) != (which, concept)
        )
        signed = Overrides(study.id, home.name, mapping.digest, (*kept, statement))
        write_whole(home.overrides_path, sign_overrides(signed, home.signing_key).to_json())
        return signed

    def write_page(
        self, path: Path, profiles: Sequence[FieldProfile], study: Study | None
    ) -> tuple[Finding, ...]:
        """Write the readable profile; with a study, the checks' findings stand on top of it."""
        findings: tuple[Finding, ...] = ()
        used = records = 0
        reasons: dict[Reason, int] = {}
        if study is not None:
            material, table, _ = self._material(study)
            findings = self.findings(study, material)
            used, records = len(table), table.records_total
            reasons = {Reason(name): n for name, n in table.quarantine.summary().items()}
        usage = Usage(
            self.home.name,
            None if study is None else study.title,
            datetime.now(UTC).date(),
            used,
            records,
            reasons,
        )
        rows = [self._row(profile) for profile in profiles]
        write_profile(path, rows, findings, usage, self.home.hospital.quality)
        return findings

    @cached_property
    def _suggester(self) -> Suggester:
        return Suggester(self.graph)

    def _survey(self, source: Source, long: Long | None = None) -> tuple[FieldProfile, ...]:
        here = Surroundings(self.path.parent, self.graph, datetime.now(UTC).date())
        return survey(source, here, long)

    def _row(self, profile: FieldProfile) -> ProfileRow:
        for source, field in self.mapping.all_fields():
            if source.name == profile.source and _is_about(field, profile):
                concept = self.graph.concept(field.concept)
                path = self._harmonised(self.mapping, [concept.id]).mapped(concept.id).steps
                stated = getattr(field, "unit", None) or next(iter(profile.units), None)
                after = read_texts(
                    profile.samples,
                    field,
                    stated,
                    getattr(source, "decimal", "."),
                    datetime.now(UTC).date().toordinal(),
                    self.graph,
                )
                return ProfileRow(profile, concept.id, concept.name, concept.unit, path, after)
        return ProfileRow(profile)

    def _overrides(self, study: Study) -> Overrides:
        """What is signed for this study and the mapping as it stands; another's counts nothing.

        The agent itself refuses a file that is for another mapping: here it is being rewritten.
        """
        home, mapping = self.home, self.mapping.digest
        try:
            return load_overrides(
                home.overrides_path, study.id, home.name, mapping, home.signing_key.public
            )
        except WardroundError as error:
            if error.code != "WR-DATA-078":
                raise
            return Overrides(study.id, home.name, mapping)

    def _harmonised(self, mapping: Mapping, wanted: Sequence[str]) -> Harmonised:
        return harmonised_of(mapping, self.path.parent, self.graph, wanted)

    def _material(
        self, study: Study, left_out: Collection[str] | None = None
    ) -> tuple[Material, FeatureTable, Harmonised]:
        harmonised = self._harmonised(self.mapping, study.data.needed)
        known = None
        if not study.is_draft:
            known = federation_in(self.home.reports / "model", study)
        material = material_for(study, harmonised, datetime.now(UTC).date(), known)
        if left_out is None:
            left_out = self._left_out(study)
        if left_out:
            material = replace(material, table=material.table.excluding(left_out))
        return material, material.table, harmonised

    def _left_out(self, study: Study) -> frozenset[str]:
        """Who is left out of this study by the signed list; another study's counts nothing."""
        try:
            standing = self.home.standing_exclusions(study)
        except WardroundError as error:
            if error.code != "WR-SITE-062":
                raise
            return frozenset()
        return frozenset() if standing is None else standing.patients


def _is_about(field: AnyField, profile: FieldProfile) -> bool:
    """Whether a profile is the one of a mapped field."""
    column = getattr(field, "column", None)
    if column is not None:
        return bool(column == profile.field)
    codes = {code for _, code in profile.codes}
    mapped = {str(one) for one in getattr(field, "concept_ids", ())}
    mapped |= set(getattr(field, "all_codes", ()))
    element = getattr(field, "element", None)
    return bool(codes & mapped) or element == profile.field
