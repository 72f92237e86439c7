"""How sparse a graph may be: exact small cases, brute force, and the choice that is printed."""

import itertools
import math
import random

import numpy as np
import pytest

from wardround.errors import WardroundError
from wardround.secagg import Adversary
from wardround.secagg.graph import (
    COMPLETE_UP_TO,
    Graph,
    choose,
    complete,
    failure_to_protect,
    holders,
)


def fifth(sites: int) -> Adversary:
    return Adversary(sites, sites // 5)


@pytest.mark.parametrize("sites", [3, 8, COMPLETE_UP_TO])
def test_small_cohorts_mask_in_all_pairs_with_the_thresholds_of_the_adversary(sites: int) -> None:
    rule = choose(Adversary(sites, 0), 0)
    assert rule.is_complete
    assert rule.share_threshold == Adversary(sites, 0).threshold
    assert rule.neighbours == sites - 1


@pytest.mark.parametrize("sites", [33, 64, 128, 500, 1000])
def test_the_choice_keeps_both_stated_bounds_and_no_sparser_one_does(sites: int) -> None:
    adversary = fifth(sites)
    rule = choose(adversary, sites // 5)
    assert rule.security_bits >= 40
    assert rule.failure_bits >= 30
    assert rule.degree < sites - 1
    # One choice fewer, with the highest threshold that dropouts allow, protects less.
    below = [
        -failure_to_protect(adversary, rule.degree - 1, threshold)
        for threshold in (rule.share_threshold - 1, rule.share_threshold)
    ]
    assert min(below) < 40


def test_the_degree_grows_far_more_slowly_than_the_cohort() -> None:
    degrees = [choose(fifth(sites), sites // 5).degree for sites in (100, 1000, 2000)]
    assert degrees == [41, 111, 122]


def test_the_choice_is_said_in_one_line() -> None:
    assert choose(fifth(1000), 200).describe() == (
        "1000 sites, 200 of them corrupt: each chooses 111 others and masks with 210; 58 shares "
        "open a secret, 601 votes a total; protects but for 2^-40, completes but for 2^-31"
    )


def test_more_dropouts_than_votes_can_bear_are_refused() -> None:
    with pytest.raises(WardroundError, match="WR-SECAGG-060"):
        choose(Adversary(100, 20), 40)


@pytest.mark.parametrize("dropouts", [-1, -2, -40])
def test_fewer_dropouts_than_none_are_refused(dropouts: int) -> None:
    with pytest.raises(WardroundError, match="WR-SECAGG-060"):
        choose(Adversary(40, 8), dropouts)


def test_helpers_open_a_sum_if_they_hold_enough_of_every_site() -> None:
    chosen = {
        "a": frozenset("bc"),
        "b": frozenset("cd"),
        "c": frozenset("ad"),
        "d": frozenset("ab"),
    }
    graph = Graph(tuple("abcd"), 2, chosen)
    assert graph.can_open("abc")
    assert not graph.can_open("bd"), "of c's holders a, c, d only one is there"


def hypergeometric(population: int, marked: int, drawn: int, found: int) -> float:
    ways = math.comb(marked, found) * math.comb(population - marked, drawn - found)
    return ways / math.comb(population, drawn)


def test_the_first_event_alone_is_the_textbook_tail() -> None:
    """Nobody is left to split off where the survivors must be nearly all."""
    adversary = Adversary(40, 37)
    tail = sum(hypergeometric(39, 37, 6, found) for found in range(5, 7))
    both = 2 ** failure_to_protect(adversary, 6, 5)
    assert both >= 3 * tail
    assert both <= 3 * tail * 3  # the rest: one or another of the three honest sites cut off


def torn(graph: Graph, honest: list[str], least: int, needed: int) -> bool:
    """Whether some announced survivors leave the honest ones in pieces, each with its choices."""
    edges = {site: graph.neighbours(site) & set(honest) for site in honest}
    everyone = list(graph.roster)
    for size in range(needed, len(everyone) + 1):
        for survivors in map(set, itertools.combinations(everyone, size)):
            alive = [site for site in honest if site in survivors]
            if any(len(graph.chosen[site] & survivors) < least for site in alive):
                continue
            reached, todo = set(), alive[:1]
            while todo:
                one = todo.pop()
                reached.add(one)
                todo += [other for other in edges[one] & survivors if other not in reached]
            if len(reached) < len(alive):
                return True
    return False


def test_the_bound_holds_over_every_survivor_set_of_small_random_graphs() -> None:
    """Brute force: the coordinator tries all survivor sets after it has seen the graph."""
    sites, corrupt, degree, threshold = 9, 2, 3, 2
    adversary = Adversary(sites, corrupt)
    names = [f"s{place}" for place in range(sites)]
    honest, evil = names[corrupt:], set(names[:corrupt])
    generator = random.Random(5)
    tries, failures = 300, 0
    for _ in range(tries):
        chosen = {
            site: frozenset(generator.sample([one for one in names if one != site], degree))
            for site in honest
        }
        chosen |= {site: frozenset(names) - {site} for site in evil}
        opened = any(len(chosen[site] & evil) >= threshold for site in honest)
        graph = Graph(tuple(names), threshold, chosen)
        failures += opened or torn(graph, honest, threshold, adversary.minimum_survivors)
    bound = 2 ** failure_to_protect(adversary, degree, threshold)
    assert failures > 0, "these graphs are meant to be too sparse"
    spread = 5 * math.sqrt(tries * min(bound, 1.0)) / tries
    assert failures / tries <= min(bound, 1.0) + spread


def test_edges_and_holders_of_a_graph() -> None:
    chosen = {
        "a": frozenset("bc"),
        "b": frozenset("cd"),
        "c": frozenset("ad"),
        "d": frozenset("ab"),
    }
    graph = Graph(tuple("abcd"), 2, chosen)
    assert graph.holders("b") == ("b", "c", "d")
    assert graph.dealers("a") == {"a", "c", "d"}
    assert graph.neighbours("b") == {"a", "c", "d"}
    whole = Graph(tuple("abcd"), 2)
    assert whole.holders("b") == whole.roster
    assert whole.neighbours("b") == {"a", "c", "d"}
    assert holders("b", ("d", "a")) == ("a", "b", "d")


def test_who_did_not_deal_is_nobodys_neighbour() -> None:
    graph = Graph(
        tuple("abc"), 2, {"a": frozenset("bd"), "b": frozenset("ac"), "c": frozenset("ad")}
    )
    assert graph.neighbours("a") == {"b", "c"}


def test_the_average_number_of_neighbours_is_what_random_graphs_have() -> None:
    rule = choose(fifth(100), 20)
    generator = np.random.default_rng(3)
    names = tuple(f"s{place:03}" for place in range(100))
    chosen = {
        site: frozenset(
            generator.choice([one for one in names if one != site], rule.degree, replace=False)
        )
        for site in names
    }
    graph = Graph(names, rule.share_threshold, chosen)
    found = np.mean([len(graph.neighbours(site)) for site in names])
    assert abs(found - rule.neighbours) < 1.5


def test_all_pairs_have_no_bound_to_state() -> None:
    rule = complete(Adversary(40, 8))
    assert rule.is_complete
    assert "all pairs" in rule.describe()
