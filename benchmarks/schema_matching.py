"""Suggestions beside plain fuzzy names, on labelled fields of whole sources that were held out.

The baseline compares a field's name and its description with every name and synonym of every
concept by :class:`difflib.SequenceMatcher` (Ratcliff and Obershelp), and ranks the concepts by the
best ratio; it has the same graph and the same synonyms. The reciprocal rank of a field is one over
the place of the first right concept; `mrr` is its mean. `fields_found_1` is the other direction: of
the concepts that a held-out source has, the share whose right field comes first among its fields.

The figures `fresh_...` are of sources that were labelled without knowledge of the matcher after it
was finished; the head of `tests/data/schema_matching.toml` says how.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher

from benchmarks._labelled_fields import PARTS, LabelledField, labelled_fields
from benchmarks.report import Cell, Report
from wardround.clinical.graph import Concept, ConceptGraph
from wardround.clinical.profile import FieldProfile
from wardround.clinical.suggest import Suggester
from wardround.clinical.suggest.minilm import load_minilm

TARGET = 1.2
_BEYOND = 10_000


def run(parts: Sequence[str] = PARTS) -> Report:
    """Rank the concepts for every field, both ways, and without each signal in turn."""
    graph = ConceptGraph.load()
    fields = labelled_fields(parts=parts)
    by_part = {part: [one for one in fields if one.part == part] for part in parts}
    held = by_part["held-out"]
    baseline = Baseline(graph.concepts)
    suggester = Suggester(graph)
    began = time.perf_counter()
    ranks = {id(one): rank_of(suggester, one) for one in fields}
    each_ms = 1000 * (time.perf_counter() - began) / len(fields)
    plain = {id(one): baseline.rank(one) for one in fields}
    rows: list[Mapping[str, Cell]] = []
    of_parts = [(_plain_part(part), chosen) for part, chosen in by_part.items()]
    for name, chosen in (*of_parts, *_by_source(fields)):
        rows.append(_row(name, chosen, ranks, plain))
    for signal in suggester.signals:
        without = Suggester(graph, without={signal})
        less = {id(one): rank_of(without, one) for one in held}
        rows.append(_row(f"held out, without {signal}", held, less, plain))
    found = fields_found(suggester, held)
    embedder = load_minilm()
    if embedder is not None:
        meaning = Suggester(graph, embedder=embedder)
        more = {id(one): rank_of(meaning, one) for one in held}
        rows.append(_row("held out, with embedding", held, more, plain))
    mrr, baseline_mrr = _mrr(held, ranks), _mrr(held, plain)
    return Report(
        results=rows,
        figures={
            "mrr": mrr,
            "baseline_mrr": baseline_mrr,
            "ratio": mrr / baseline_mrr,
            "recall_1": _recall(held, ranks, 1),
            "recall_5": _recall(held, ranks, 5),
            "fields": len(held),
            "fields_found_1": found,
            **_fresh(by_part.get("fresh", []), ranks, plain),
        },
        notes=[
            f"target: mrr at least {TARGET} times baseline_mrr",
            f"{len(graph.concepts)} concepts; {each_ms:.0f} ms to rank them for one field",
            "the embedding model is "
            + ("present" if embedder is not None else "absent (the extra [embed])")
            + "; the figures are without it",
        ],
    )


def rank_of(suggester: Suggester, field: LabelledField) -> int:
    """The place of the first right concept, from 1; beyond them all where none was ranked."""
    ranked = suggester.rank(field.profile, top=_BEYOND, least=0.0)
    return 1 + next((n for n, one in enumerate(ranked) if one.concept in field.gold), _BEYOND)


def fields_found(suggester: Suggester, fields: Sequence[LabelledField]) -> float:
    """The other way round: of the concepts that each source has, how many find their field."""
    hits, asked = 0, 0
    for source in dict.fromkeys(one.profile.source for one in fields):
        mine = [one for one in fields if one.profile.source == source]
        right = {one.profile.field: one.gold for one in mine}
        wanted = dict.fromkeys(one.gold[0] for one in mine)
        best = suggester.find([one.profile for one in mine], wanted, top=1, least=0.0)
        asked += len(wanted)
        hits += sum(concept in right[best[concept][0].field] for concept in wanted)
    return hits / asked


class Baseline:
    """Fuzzy names: the best ratio of the field's name or description to any name of a concept."""

    def __init__(self, concepts: Sequence[Concept]) -> None:
        self._labels = [
            (concept.id, sorted({_plain(t) for t in (concept.id, concept.name, *concept.synonyms)}))
            for concept in concepts
        ]

    def rank(self, field: LabelledField) -> int:
        """The place of the first right concept, from 1; equals stand in the graph's order."""
        scores = self._scores(field.profile)
        order = sorted(range(len(scores)), key=lambda n: -scores[n])
        return 1 + next(place for place, n in enumerate(order) if self._labels[n][0] in field.gold)

    def _scores(self, profile: FieldProfile) -> list[float]:
        queries = [_plain(text) for text in (profile.field, profile.description) if text]
        matchers = []
        for query in queries:
            matcher = SequenceMatcher(autojunk=False)
            matcher.set_seq2(query)
            matchers.append(matcher)
        return [max(_best(m, labels) for m in matchers) for _, labels in self._labels]


def _best(matcher: SequenceMatcher[str], labels: Iterable[str]) -> float:
    best = 0.0
    for label in labels:
        matcher.set_seq1(label)
        if matcher.real_quick_ratio() > best and matcher.quick_ratio() > best:
            best = max(best, matcher.ratio())
    return best


def _plain(text: str) -> str:
    return " ".join(text.casefold().replace("_", " ").split())


def _by_source(fields: Sequence[LabelledField]) -> list[tuple[str, list[LabelledField]]]:
    names = dict.fromkeys((one.profile.source, one.part) for one in fields)
    return [
        (f"{name} ({_plain_part(part)})", [f for f in fields if f.profile.source == name])
        for name, part in names
    ]


def _plain_part(part: str) -> str:
    return part.replace("-", " ")


def _fresh(
    fields: Sequence[LabelledField], ranks: Mapping[int, int], plain: Mapping[int, int]
) -> Mapping[str, float]:
    if not fields:
        return {}
    return {
        "fresh_mrr": _mrr(fields, ranks),
        "fresh_baseline_mrr": _mrr(fields, plain),
        "fresh_recall_1": _recall(fields, ranks, 1),
        "fresh_recall_5": _recall(fields, ranks, 5),
        "fresh_fields": len(fields),
    }


def _row(
    name: str,
    fields: Sequence[LabelledField],
    ranks: Mapping[int, int],
    plain: Mapping[int, int],
) -> Mapping[str, Cell]:
    return {
        "fields_of": name,
        "fields": len(fields),
        "mrr": round(_mrr(fields, ranks), 3),
        "recall_1": round(_recall(fields, ranks, 1), 3),
        "recall_5": round(_recall(fields, ranks, 5), 3),
        "baseline_mrr": round(_mrr(fields, plain), 3),
    }


def _mrr(fields: Sequence[LabelledField], ranks: Mapping[int, int]) -> float:
    return sum(1 / ranks[id(one)] for one in fields) / len(fields)


def _recall(fields: Sequence[LabelledField], ranks: Mapping[int, int], top: int) -> float:
    return sum(ranks[id(one)] <= top for one in fields) / len(fields)
