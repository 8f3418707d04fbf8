"""Makes the language of the histories out of the graph of the model: what one request's history can be."""

from collections import defaultdict

from model.checker import Edge, Found, explore
from model.draft import Entry as Written
from model.guards import FAULTS
from model.protocol import Protocol
from model.states import NOBODY, beginning

from worker import law

Word = tuple[law.Entry, ...]


def words_of_the_model(faults: int) -> tuple[set[Word], Found]:
    """Return each history that one request of two workers can have at some time, and what else was found."""
    entries: dict[int, set[tuple[Word, int]]] = defaultdict(set)

    def told(edge: Edge) -> None:
        word = tuple(entry_of(one) for one in edge.entries if one.status != law.GONE)
        gone = any(one.status == law.GONE for one in edge.entries)
        if not gone:  # what follows begins anew: its history was deleted
            entries[edge.before].add((word, edge.after))

    found = explore(Protocol(FAULTS, names_workers=True), beginning(1, 2, faults), told)
    # A subset construction: the states in which the model can be after a word.
    words: set[Word] = set()
    ahead: list[tuple[Word, frozenset[int]]] = [((), _silently({0}, entries))]
    while ahead:
        word, states = ahead.pop()
        if word:
            words.add(word)
        after: dict[Word, set[int]] = defaultdict(set)
        for state in states:
            for more, number in entries[state]:
                if more:
                    after[more].add(number)
        ahead += [((*word, *more), _silently(numbers, entries)) for more, numbers in after.items()]
    return words, found


def _silently(states: set[int], entries: dict[int, set[tuple[Word, int]]]) -> frozenset[int]:
    """Return these states, and those to which steps lead that no history tells of."""
    ahead, found = list(states), set(states)
    while ahead:
        for word, number in entries[ahead.pop()]:
            if not word and number not in found:
                found.add(number)
                ahead.append(number)
    return frozenset(found)


def entry_of(one: Written) -> law.Entry:
    by = law.NOBODY if one.by == NOBODY else law.THE_SAME if one.by == one.before else law.ANOTHER
    return law.Entry(one.status, one.attempts, by)


def words_of_the_law(longest: int) -> set[Word]:
    """Return the words of the automaton, up to this length."""
    words: set[Word] = set()
    ahead: list[tuple[Word, str]] = [((), law.BEGIN)]
    while ahead:
        word, place = ahead.pop()
        if law.is_history(word):
            words.add(word)
        if len(word) < longest:
            ahead += [((*word, entry), after) for entry, after in law.HISTORIES[place].items()]
    return words
