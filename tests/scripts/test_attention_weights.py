import numpy
import pytest

from .loading import load_script

load_script("generate_output.py")
load_script("pieces.py")
attention_weights = load_script("attention_weights.py")
Attention, merge_pieces, read_attentions = (
    attention_weights.Attention, attention_weights.merge_pieces, attention_weights.read_attentions,
)  # fmt: skip

OUTPUT = """\
S-2\t▁ein ▁Hund
H-2\t-0.5\t▁a ▁dog
A-2\t0.7,0.2,0.1 0.1,0.8,0.1 0.0,0.3,0.7
H-2\t-0.9\t▁dog
A-2\t0.1,0.8,0.1 0.0,0.3,0.7
S-0\t
H-0\t-0.1\t
A-0\t1.0
S-1\t▁x
H-1\t-0.2\t▁y
A-1\t0.5,0.5 0.25,0.75
"""


def random_attention(target: str, source: str) -> Attention:
    words = [*target.split(), "</s>"], [*source.split(), "</s>"]
    weights = numpy.random.default_rng(1).dirichlet(numpy.ones(len(words[1])), size=len(words[0]))
    return Attention(0, 1, -1.0, words[1], words[0], weights)


def test_sentences_come_in_order_with_their_ends():
    found = read_attentions(OUTPUT.split("\n"))
    assert [attention.number for attention in found] == [0, 1, 2]
    assert found[0].source == found[0].target == ["</s>"]
    last = found[2]
    assert (last.source, last.target) == (["▁ein", "▁Hund", "</s>"], ["▁a", "▁dog", "</s>"])
    assert (last.rank, last.score) == (1, -0.5)
    numpy.testing.assert_array_equal(last.weights, [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.0, 0.3, 0.7]])


def test_sentences_are_chosen_and_the_best_of_each():
    assert [attention.number for attention in read_attentions(OUTPUT.split("\n"), [2, 0])] == [2, 0]
    found = read_attentions(OUTPUT.split("\n"), nbest=2)
    assert [(attention.number, attention.rank) for attention in found] == [(0, 1), (1, 1), (2, 1), (2, 2)]
    assert found[3].target == ["▁dog", "</s>"]


@pytest.mark.parametrize(
    "lines, numbers, message",
    [
        (["nothing", "S-0\ta"], None, "no line with weights .* --print-alignment soft"),
        (["S-0\ta", "H-0\t-1\tb"], None, "no line with weights .* --print-alignment soft"),
        (["S-0\ta", "H-0\t-1\tb", "A-0\t0-0 1-1"], None, r"sentence 0: .* hard \(0-0 1-1\).* --print-alignment soft"),
        (
            ["S-0\ta b", "H-0\t-1\tc", "A-0\t0.5,0.5 0.5,0.5"],
            None,
            "sentence 0: weights for 2 .* 2 .*but 2 and 3 words",
        ),
        (["S-0\ta", "H-0\t-1\tb", "A-0\t0.5,nan 0.5,0.5"], None, "sentence 0: .* no finite numbers"),
        (["S-0\ta", "H-0\t-1\tb", "A-0\t0.5,0.5 0.5"], None, "sentence 0: .*0.5,0.5 0.5"),
        (OUTPUT.split("\n"), [1, 5], "no sentence 5; it has 0 to 2"),
    ],
)
def test_what_cannot_be_drawn(lines, numbers, message):
    with pytest.raises(ValueError, match=message):
        read_attentions(lines, numbers)


def test_a_sentence_that_nobody_asked_for_may_be_broken():
    lines = [*OUTPUT.split("\n"), "S-7\ta", "H-7\t-1\tb", "A-7\t0-0"]
    assert len(read_attentions(lines, [0, 1])) == 2


def test_numbers_are_told_in_short():
    assert attention_weights.ranges([3, 0, 1, 2, 7, 9, 10]) == "0 to 3, 7, 9 to 10"
    assert attention_weights.ranges(range(0, 20, 2)) == "0, 2, 4, 6, 8, ..."


@pytest.mark.parametrize(
    "scheme, pieces, words",
    [
        ("sentencepiece", "▁un believ able ▁dog s", {"unbelievable": [0, 1, 2], "dogs": [3, 4]}),
        ("sentencepiece", "no mark ▁first", {"nomark": [0, 1], "first": [2]}),
        ("sentencepiece", "▁ dog ▁a", {"dog": [0, 1], "a": [2]}),
        ("sentencepiece", "▁我们 卖 橙 汁 。", {"我们": [0], "卖": [1], "橙": [2], "汁": [3], "。": [4]}),
        ("sentencepiece", "▁ 我 用 Python 3 。", {"我": [0, 1], "用": [2], "Python3": [3, 4], "。": [5]}),
        ("sentencepiece", "▁한국 어 ▁책", {"한국어": [0, 1], "책": [2]}),
        ("subword_nmt", "un@@ believ@@ able dog@@ s", {"unbelievable": [0, 1, 2], "dogs": [3, 4]}),
        ("@@", "a b@@", {"a": [0], "b": [1]}),
        ("@@", "▁a b", {"▁a": [0], "b": [1]}),
    ],
)
@pytest.mark.parametrize("side", ["source", "target"])
def test_pieces_become_words(scheme, pieces, words, side):
    """Columns of a source word are added, rows of a target word averaged; the other side stays as it is."""
    other = "▁x" if scheme == "sentencepiece" else "x"
    pair = (other, pieces) if side == "source" else (pieces, other)
    attention = random_attention(*pair)
    merged = merge_pieces(attention, scheme)
    assert getattr(merged, side) == [*words, "</s>"]
    groups = [*words.values(), [len(pieces.split())]]
    if side == "source":
        expected = numpy.stack([attention.weights[:, group].sum(1) for group in groups], axis=1)
    else:
        expected = numpy.stack([attention.weights[group].mean(0) for group in groups])
    numpy.testing.assert_allclose(merged.weights, expected)
    numpy.testing.assert_allclose(merged.weights.sum(1), 1)


def test_pieces_of_both_sides_and_of_none():
    attention = random_attention("▁a b ▁c", "▁d e f")
    merged = merge_pieces(attention, "sentencepiece")
    assert (merged.target, merged.source) == (["ab", "c", "</s>"], ["def", "</s>"])
    numpy.testing.assert_allclose(merged.weights[0, 0], attention.weights[:2, :3].sum() / 2)
    empty = merge_pieces(random_attention("", ""), "sentencepiece")
    assert (empty.target, empty.source, empty.weights.tolist()) == (["</s>"], ["</s>"], [[1.0]])
    assert merge_pieces(attention, "none") is attention
    with pytest.raises(ValueError, match="--post-process bpe: choose from none, sentencepiece, subword_nmt, @@"):
        merge_pieces(attention, "bpe")
