"""Which words a sentence is searched over, by hand."""

import pytest
import torch

from s2s_plugin.tasks.shortlist import Lexicon
from tests.models.builders import make_dictionary

SOURCE, TARGET = make_dictionary(5, "s"), make_dictionary(8, "t")


def read(tmp_path, text: str, size=2, first=1):
    (tmp_path / "list").write_text(text, encoding="utf-8")
    return Lexicon.read(tmp_path / "list", SOURCE, TARGET, size, first)


def words(shortlist, row: int) -> list:
    return [TARGET[index] for index in shortlist.ids[shortlist.allowed[row]].tolist()]


LINES = "s0 t3 0.2\ns0 t4 0.5\ns0 t5 0.3\ns1 t6 1\ns2 t7 0.9\ns2 other 0.1\n"
EVERYWHERE = ["<s>", "<pad>", "</s>", "<unk>", "t0"]


def test_a_sentence_has_the_words_of_its_words(tmp_path):
    lexicon = read(tmp_path, LINES)
    s = {name: SOURCE.index(name) for name in ("s0", "s1", "s2", "s3")}
    batch = torch.tensor([[s["s0"], s["s1"], SOURCE.eos()], [s["s2"], SOURCE.eos(), SOURCE.pad()]])
    found = lexicon.of_batch(batch)
    assert words(found, 0) == [*EVERYWHERE, "t4", "t5", "t6"]
    assert words(found, 1) == [*EVERYWHERE, "t7"]
    assert found.ids.tolist() == sorted(found.ids.tolist()) and found.ids[:4].tolist() == [0, 1, 2, 3]
    alone = lexicon.of_batch(batch[1:, :2])
    assert words(alone, 0) == words(found, 1)
    left = lexicon.of_batch(torch.tensor([[SOURCE.pad(), s["s2"], SOURCE.eos()]]))
    assert words(left, 0) == words(found, 1)
    assert words(lexicon.of_batch(torch.tensor([[s["s3"], SOURCE.eos()]])), 0) == EVERYWHERE


@pytest.mark.parametrize(
    "text, options, message",
    [
        ("s0 t1\n", {}, "line 1: 's0 t1' is no source, target and weight"),
        ("s0 t1 1\ns1 t2 heavy\n", {}, "line 2: 's1 t2 heavy' is no source, target and weight"),
        ("", {}, "another vocabulary: of its 0 source words 0 are known"),
        ("a t1 1\nb t1 1\ns0 t1 1\n", {}, "another vocabulary: of its 3 source words 1 are known"),
        (LINES, {"size": 0}, "--shortlist-size 0: must be at least 1"),
        (LINES, {"first": 0}, "--shortlist-first 0: must be at least 1"),
    ],
)
def test_a_file_that_cannot_be_is_refused(tmp_path, text, options, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, text, **options)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="--shortlist .*none: there is no such file"):
        Lexicon.read(tmp_path / "none", SOURCE, TARGET, 1, 1)
