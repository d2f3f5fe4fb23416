import itertools
import math
from functools import cache

import pytest

from s2s_plugin.scoring.error_rate import ErrorRateConfig, ErrorRateScorer, edit_distance


def recursive_distance(a: str, b: str) -> int:
    """The definition, over all ways to align the first items."""

    @cache
    def distance(i: int, j: int) -> int:
        if i == len(a) or j == len(b):
            return len(a) - i + len(b) - j
        return min(1 + distance(i + 1, j), 1 + distance(i, j + 1), (a[i] != b[j]) + distance(i + 1, j + 1))

    return distance(0, 0)


@pytest.mark.parametrize(
    "reference, hypothesis, edits",
    [
        ("", "", 0), ("", "ab", 2), ("abc", "", 3), ("abc", "abc", 0), ("abc", "axc", 1), ("abc", "ac", 1),
        ("abc", "abbc", 1), ("kitten", "sitting", 3), ("intention", "execution", 5), ("ab", "ba", 2),
        ("abcd", "dabc", 2),
    ],
)  # fmt: skip
def test_hand_computed_distances(reference, hypothesis, edits):
    assert edit_distance(reference, hypothesis) == edits
    assert edit_distance(hypothesis, reference) == edits


def test_against_the_definition():
    strings = ["".join(letters) for n in range(5) for letters in itertools.product("ab", repeat=n)]
    for a, b in itertools.product(strings, strings):
        assert edit_distance(a, b) == recursive_distance(a, b)


def test_tokens_are_compared_whole():
    """As characters these would be one deletion apart, as tokens it is a substitution and a deletion."""
    assert edit_distance(["t͡ʃ", "ɛ", "r"], ["ʃ", "ɛ"]) == 2


def scored(*pairs) -> ErrorRateScorer:
    scorer = ErrorRateScorer(ErrorRateConfig())
    for reference, hypothesis in pairs:
        scorer.add_string(reference, hypothesis)
    return scorer


def test_rates_of_a_corpus():
    """Edits are summed before they are divided: short words weigh less."""
    scorer = scored(("a b c d", "a b c d"), ("x", "y z"), ("a b c", ""), ("p q", "p q"))
    assert scorer.score() == pytest.approx(100 * 2 / 4)
    assert scorer.token_error_rate() == pytest.approx(100 * (0 + 2 + 3 + 0) / 10)
    assert scorer.result_string() == "sequence error rate 50.00 % (2/4), token error rate 50.00 % (5/10)"


def test_the_reference_is_what_edits_are_divided_by():
    assert scored(("a b", "a b c d")).token_error_rate() == 100
    assert scored(("a b c d", "a b")).token_error_rate() == 50


def test_an_unknown_symbol_is_an_error_even_where_the_model_knows_none():
    assert scored(("a <<unk>>", "a <unk>")).result_string().startswith("sequence error rate 100.00 % (1/1)")


def test_nothing_to_score_is_no_perfect_score():
    assert math.isnan(scored().score()) and math.isnan(scored().token_error_rate())
    assert scored(("", "")).score() == 0 and math.isnan(scored(("", "")).token_error_rate())
