"""``wardround site data``: a steward gets to know the hospital's records and says what they mean.

Everything that these commands show or write stays at the hospital.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wardround.cli.console import Json, emit, printable, say, suggest, table
from wardround.cli.datawords import (
    fields_table,
    findings_table,
    profile_document,
    say_excluded,
    say_resources,
    say_sampled,
    suggestion_document,
)
from wardround.errors import WardroundError

if TYPE_CHECKING:
    from wardround.clinical.suggest import Suggestion
    from wardround.clinical.survey import Long
    from wardround.site.onboarding import Onboarding
    from wardround.study import Study

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="The agent's folder.")]
StudyFile = Annotated[
    Path | None, typer.Option("--study", help="The study; the approved one if not given.")
]
SourceName = Annotated[str | None, typer.Option("--source", help="Only this source.")]
By = Annotated[
    str | None, typer.Option(help="In a table of one row per result: the column of the test.")
]
Value = Annotated[str | None, typer.Option(help="With --by: the column of the result.")]
UnitColumn = Annotated[str | None, typer.Option(help="The column of each row's unit.")]


@app.command()
def add(
    folder: Folder,
    place: Annotated[str, typer.Argument(help="A file, a folder, or an address (sqlite:///...).")],
    name: Annotated[str, typer.Option(help="What to call it in the mapping.")],
    patient: Annotated[
        str | None, typer.Option(help="The column of a table that names the patient.")
    ] = None,
    row_is_patient: Annotated[
        bool, typer.Option(help="The table names no patient: each row is one.")
    ] = False,
    kind: Annotated[
        str | None, typer.Option(help="csv, parquet, excel, sql, omop, fhir or fhir-server.")
    ] = None,
    db_table: Annotated[str | None, typer.Option("--table", help="The database's table.")] = None,
    query: Annotated[str | None, typer.Option(help="Or one SELECT.")] = None,
    sheet: Annotated[str | None, typer.Option(help="The workbook's sheet.")] = None,
    missing: Annotated[
        list[str] | None, typer.Option(help="A text that stands for no value; may be repeated.")
    ] = None,
    delimiter: Annotated[str | None, typer.Option(help="What parts the cells of a CSV.")] = None,
    decimal: Annotated[str | None, typer.Option(help="The decimal mark: . or ,")] = None,
    encoding: Annotated[str | None, typer.Option(help="utf-8, windows-1252 or iso-8859-1.")] = None,
    ca: Annotated[
        str | None, typer.Option(help="A FHIR server's authority: a PEM file beside the mapping.")
    ] = None,
    client_id: Annotated[
        str | None, typer.Option(help="Who asks a FHIR server (SMART Backend Services).")
    ] = None,
    client_key: Annotated[
        str | None, typer.Option(help="With --client-id: its key, a file beside the mapping.")
    ] = None,
    header: Annotated[
        str | None, typer.Option(help="Names of the columns, for a CSV without a header line.")
    ] = None,
    json: Json = False,
) -> None:
    """Add a source of records to the mapping and look at what is in it; nothing is mapped yet."""
    more: dict[str, object] = {
        key: value
        for key, value in (
            ("table", db_table),
            ("query", query),
            ("sheet", sheet),
            ("patient", patient),
            ("delimiter", delimiter),
            ("decimal", decimal),
            ("encoding", encoding),
            ("ca", ca),
            ("client_id", client_id),
            ("client_key", client_key),
        )
        if value is not None
    }
    if row_is_patient:
        more["rows_are_patients"] = True
    if missing:
        more["missing"] = ["", *missing]
    if header:
        more["header"] = [name.strip() for name in header.split(",")]
    from wardround.clinical.opening import database_file
    from wardround.site.locating import lines_not_text

    onboarding = _open(folder)
    profiles = onboarding.add(place, name, kind, more)
    emit(
        {"source": name, "mapping": str(onboarding.path), "fields": len(profiles)},
        json,
        human=None if json else fields_table(profiles),
    )
    added = next(one for one in onboarding.mapping.sources if one.name == name)
    for key in ("delimiter", "decimal", "encoding"):
        if (seen := getattr(added, key, None)) is not None:
            say(f"Read with {key} {seen!r} (--{key} says otherwise)")
    if added.kind == "csv" and (bad := lines_not_text(Path(place), added.encoding)):
        say(
            f"Lines among the first that hold a byte that is not {added.encoding}: {bad}, set aside"
        )
    file = database_file(getattr(added, "url", None) or "", onboarding.path.parent)
    if file is not None:
        say(f"The database is {file}")
    say(f"{name}: {len(profiles)} fields; written to {onboarding.path}")
    say_sampled(onboarding, name)
    suggest(f"wardround site data suggest {folder} --study study.toml")


@app.command()
def profile(
    folder: Folder,
    source: SourceName = None,
    study: StudyFile = None,
    page: Annotated[
        Path | None, typer.Option(help="Where to write it; reports/profile.html if not given.")
    ] = None,
    by: By = None,
    value: Value = None,
    unit_column: UnitColumn = None,
    json: Json = False,
) -> None:
    """Describe every field, and write a readable page with charts. It stays in the hospital."""
    onboarding = _open(folder)
    profiles = onboarding.profiles(source, _long(by, value, unit_column))
    where = page or onboarding.home.reports / "profile.html"
    onboarding.write_page(where, profiles, _study(folder, study, required=False))
    emit(
        [profile_document(one) for one in profiles],
        json,
        human=None if json else fields_table(profiles),
    )
    say_sampled(onboarding, source)
    say(f"Written to {where}: open it in a browser; it stays in the hospital.")


@app.command("suggest")
def suggest_fields(
    folder: Folder,
    study: StudyFile = None,
    concept: Annotated[
        list[str] | None, typer.Option(help="A concept to look for; may be repeated.")
    ] = None,
    source: SourceName = None,
    by: By = None,
    value: Value = None,
    unit_column: UnitColumn = None,
    json: Json = False,
) -> None:
    """For each concept that the study needs, the five likeliest fields, and why."""
    from wardround.cli.map_commands import best_of, offer

    onboarding = _open(folder)
    long = _long(by, value, unit_column)
    profiles = onboarding.profiles(source, long)
    if concept:
        wanted: Sequence[str] = concept
    else:
        asked = _study(folder, study)
        assert asked is not None
        wanted = asked.data.needed
    found = onboarding.suggest(wanted, profiles)
    if json or any(found.values()):
        emit(
            {name: [suggestion_document(one) for one in some] for name, some in found.items()},
            json,
            human=None
            if json
            else table(
                ("concept", "field", "score", "why"),
                [
                    (
                        name if not number else "",
                        f"{one.source}: {one.field}",
                        f"{one.shown_score:.3f}",
                        "; ".join(one.main_reasons),
                    )
                    for name, some in found.items()
                    for number, one in enumerate(some)
                ],
            ),
        )
    for name, some in found.items():
        if not some:
            say(f"{name}: {_another_way(onboarding, name, found)}.")
    say_sampled(onboarding, source)
    graph, seen = onboarding.graph, {(one.source, one.field): one for one in profiles}
    best = [hit for some in found.values() if (hit := best_of(some, graph)) is not None]
    say(
        "Nothing is mapped yet: a person decides. "
        + ("What the likeliest would be:" if best else "No field is likely enough to name.")
    )
    offers = {offer(folder, one, seen[one.source, one.field], graph, long): one for one in best}
    for made, one in offers.items():
        if made.command:
            suggest(made.command, one.concept)
    for note in dict.fromkeys(made.note for made in offers if made.note):
        say(note)


def _another_way(
    onboarding: Onboarding, concept: str, found: Mapping[str, Sequence[Suggestion]]
) -> str:
    """What to say of a concept that no field resembles: fields for its inputs may be there."""
    graph = onboarding.graph

    def at_hand(one: str) -> bool:
        return bool(found.get(one)) or any(
            all(found.get(part) for part in derivation.inputs)
            for derivation in graph.derivations(one)
        )

    for derivation in graph.derivations(concept):
        if all(map(at_hand, derivation.inputs)):
            return f"not directly; it can be computed from {', '.join(derivation.inputs)}"
    return "no field resembles it"


@app.command("map")
def map_field(
    folder: Folder,
    source: Annotated[str, typer.Argument(help="The source's name in the mapping.")],
    concept: Annotated[str, typer.Argument(help="What the field means.")],
    column: Annotated[str | None, typer.Option(help="The column of a table.")] = None,
    unit: Annotated[str | None, typer.Option(help="The unit of its numbers (UCUM).")] = None,
    unit_column: UnitColumn = None,
    date_format: Annotated[str | None, typer.Option(help="Such as DD.MM.YYYY.")] = None,
    value: Annotated[
        list[str] | None,
        typer.Option(help="What a written value means, such as M=true; may be repeated."),
    ] = None,
    coding: Annotated[
        str | None, typer.Option(help="A known coding of the concept instead, such as fhir.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(help="Only rows with this, such as test=CHOL; may be repeated."),
    ] = None,
    choose: Annotated[
        str | None,
        typer.Option(help="Of several values: only, latest, earliest, mean, minimum, maximum."),
    ] = None,
    date_column: Annotated[str | None, typer.Option(help="When each row is of.")] = None,
    absent: Annotated[
        str | None, typer.Option(help="The value of a patient about whom nothing is said.")
    ] = None,
    missing: Annotated[
        list[str] | None,
        typer.Option(help="A value of this column that stands for none; may be repeated."),
    ] = None,
    element: Annotated[str | None, typer.Option(help="The FHIR element.")] = None,
    code: Annotated[str | None, typer.Option(help="The FHIR code, as SYSTEM|CODE.")] = None,
    component: Annotated[
        str | None, typer.Option(help="The code of an Observation's component, as SYSTEM|CODE.")
    ] = None,
    value_system: Annotated[str | None, typer.Option(help="The system of coded values.")] = None,
    domain: Annotated[str | None, typer.Option(help="The OMOP table.")] = None,
    concept_id: Annotated[
        list[int] | None, typer.Option(help="An OMOP concept id; may be repeated.")
    ] = None,
    take: Annotated[
        str | None,
        typer.Option(help="What of an OMOP row: value, value_text, day, concept or presence."),
    ] = None,
    present: Annotated[bool, typer.Option(help="That there is a value means yes.")] = False,
    index_date: Annotated[
        bool, typer.Option(help="This is the day at which ages are taken.")
    ] = False,
    json: Json = False,
) -> None:
    """Say what a field means, and see the way there with five values before and after."""
    system, _, found_code = (code or "").rpartition("|")
    part_system, _, part_code = (component or "").rpartition("|")
    field: dict[str, object] = {
        "concept": concept,
        "column": column,
        "unit": unit,
        "unit_column": unit_column,
        "date_format": date_format,
        "value_map": _value_map(value or ()),
        "coding": coding,
        "where": _pairs(where or (), "--where"),
        "choose": choose,
        "date_column": date_column,
        "absent": _plain_value(absent),
        "missing": tuple(missing or ()),
        "element": element,
        "system": system or None,
        "code": found_code or None,
        "component_system": part_system or None,
        "component_code": part_code or None,
        "value_system": value_system,
        "domain": domain,
        "concept_ids": tuple(concept_id or ()),
    }
    if take is not None:
        field["value"] = take
    if present:
        field["value" if domain else "present"] = "presence" if domain else True
    onboarding = _open(folder)
    shown = onboarding.map(source, field, index_date)
    emit(
        {
            "concept": shown.concept,
            "path": list(shown.path),
            "before": list(shown.before),
            "after": list(shown.after),
        },
        json,
        human=None
        if json
        else table(("before", "after"), list(zip(shown.before, shown.after, strict=True))),
    )
    say("; then ".join(shown.path))
    if not shown.before:
        say("Nothing was found there: look at the column, the code or --where again.")
    elif set(shown.after) == {"no"}:
        say("Every value shown becomes a no: look whether the source says a yes in another way.")
    elif all(one.startswith("set aside") for one in shown.after):
        say(
            "None of the five can be used: look at the unit, the form or the source's decimal mark."
        )
    suggest(f"wardround site data check {folder} --study study.toml")


@app.command("check")
def check_records(folder: Folder, study: StudyFile = None, json: Json = False) -> None:
    """Check the records as mapped: what warns, what blocks, and how to mend it.

    The table shows the steward every count; small ones are hidden in errors and in --json, which
    are passed on. Exits with 1 where something blocks.
    """
    from wardround.clinical.quality import Level, public_usage, verdict

    asked = _study(folder, study)
    assert asked is not None
    preview = _open(folder).preview(asked)
    findings = preview.findings
    shown = [one for one in findings if one.level in (Level.WARN, Level.BLOCK)]
    emit(
        {
            "used": public_usage(preview.used, preview.records, {})[0],
            "records": preview.records,
            "findings": [one.public() for one in shown],
        },
        json,
        human=None if json else findings_table(shown, preview.used, preview.records),
    )
    say_resources(preview.resources)
    say_excluded(preview)
    passed = sum(one.level is Level.OK for one in findings)
    say(f"{passed} checks found nothing, {len(shown)} found something.")
    verdict(findings)
    mapping = folder / "mapping.toml"
    suggest(f"wardround site approve {folder} {study or 'study.toml'} --mapping {mapping}")


@app.command("preview")
def preview_records(folder: Folder, study: StudyFile = None, json: Json = False) -> None:
    """Show what the study would get: N of M records, why not the rest, the way to each concept.

    The steward sees every count; small ones are hidden in --json, which is passed on.
    """
    from wardround.clinical.quality import public_usage

    asked = _study(folder, study)
    assert asked is not None
    preview = _open(folder).preview(asked)
    used, set_aside = public_usage(preview.used, preview.records, preview.set_aside)
    _, resources = public_usage(preview.used, preview.records, preview.resources)
    emit(
        {
            "used": used,
            "records": preview.records,
            "set_aside": set_aside,
            "resources": resources,
            "paths": {name: list(path) for name, path in preview.paths.items()},
            "reads": [asdict(read) for read in preview.reads],
        },
        json,
        human=None
        if json
        else table(
            ("concept", "how it is obtained"),
            [(name, "; then ".join(path)) for name, path in preview.paths.items()],
        ),
    )
    for read in preview.reads:
        say(f"Read from {read.source}: {read.rows} rows by {printable(read.query)}")
        for part in read.parts:
            say(f"  {printable(part.name)}, {part.lines} lines, {part.digest}")
    say(f"{preview.used} of {preview.records} records are usable.")
    from wardround.clinical.quarantine import Reason

    for reason, count in preview.set_aside.items():
        if reason != Reason.EXCLUDED:
            say(f"  {count} set aside: {Reason(reason).words}")
    say_excluded(preview)
    say_resources(preview.resources)


@app.command()
def watch(
    folder: Folder,
    every: Annotated[
        float, typer.Option(min=1.0, help="Minutes between two readings of what has changed.")
    ] = 60.0,
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, help="Let FHIR servers notify this machine at this port as well."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Keep the approved study's records in memory current, and say what each reading gives."""
    import asyncio
    from contextlib import suppress

    from wardround.cli.events import printer
    from wardround.site.home import SiteHome
    from wardround.site.watching import watch as keep

    with suppress(KeyboardInterrupt):
        asyncio.run(keep(SiteHome(folder), printer(json), timedelta(minutes=every), port))


@app.command()
def override(
    folder: Folder,
    check: Annotated[str, typer.Argument(help="The check that blocks, such as missingness.")],
    concept: Annotated[
        str | None, typer.Argument(help="The concept it is about, if it is about one.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why it may pass, in a sentence.")] = "",
    steward: Annotated[str, typer.Option(help="Who decides.")] = "",
    until: Annotated[
        str | None, typer.Option(help="The last day, YYYY-MM-DD; at most a year on.")
    ] = None,
    study: StudyFile = None,
    json: Json = False,
) -> None:
    """Let one block pass, under the hospital's signature; every report shows it."""
    from wardround.clinical.quality import Check

    asked = _study(folder, study)
    assert asked is not None
    try:
        last = date.fromisoformat(until) if until else datetime.now(UTC).date() + _LONGEST
        which = Check(check)
    except ValueError as error:
        raise WardroundError(
            "WR-CLI-030",
            "The check or the day is not one that there is.",
            f"Checks: {', '.join(one.value for one in Check)}. A day is YYYY-MM-DD.",
        ) from error
    signed = _open(folder).override(asked, which, concept, reason, steward, last)
    emit({"overrides": len(signed.statements), "until": last.isoformat()}, json)


_LONGEST = timedelta(days=365)


def _open(folder: Path) -> Onboarding:
    from wardround.site.home import SiteHome
    from wardround.site.onboarding import Onboarding

    return Onboarding(SiteHome(folder))


def _study(folder: Path, study: Path | None, *, required: bool = True) -> Study | None:
    from wardround.site.home import SiteHome
    from wardround.study import Study

    if study is not None:
        return Study.draft(study)  # a draft is enough to look at records
    try:
        return SiteHome(folder).study
    except WardroundError:
        if required:
            raise
        return None


def _long(by: str | None, value: str | None, unit: str | None) -> Long | None:
    from wardround.clinical.survey import Long

    if (by is None) != (value is None):
        raise WardroundError(
            "WR-CLI-031", "--by and --value belong together.", "Give both, or neither."
        )
    return None if by is None or value is None else Long(by, value, unit)


def _pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise WardroundError(
                "WR-CLI-032",
                f"{option} takes NAME=VALUE.",
                f"Write, for example, {option} test=CHOL; quote it where it holds a space.",
            )
        found[name] = value
    return found


def _value_map(texts: Sequence[str]) -> dict[str, object]:
    return {name: _plain_value(value) for name, value in _pairs(texts, "--value").items()}


def _plain_value(text: str | None) -> object:
    if text is None:
        return None
    if text in ("true", "false"):
        return text == "true"
    try:
        return float(text)
    except ValueError:
        return text
