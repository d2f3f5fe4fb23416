"""What the objects that fairseq's commands print and replace by refuse, and that they are put in once."""

import pytest

from s2s_plugin.tasks.alignments import SourceTexts, check_pieces
from tests.models.builders import make_dictionary


def test_a_piece_of_two_words_is_refused_where_pieces_are_joined():
    dictionary = make_dictionary(3)
    for symbol in ("▁of▁the", "▁▁a", "▁", "b"):
        dictionary.add_symbol(symbol)
    check_pieces([dictionary], "none")
    check_pieces([dictionary], "subword_nmt")
    with pytest.raises(ValueError, match="--alignment-words sentencepiece: '▁of▁the' of the dictionary is not of one"):
        check_pieces([make_dictionary(3), dictionary], "sentencepiece")


def test_a_dictionary_gives_back_each_line_once_however_often_it_was_asked_to():
    dictionary = make_dictionary(3)
    SourceTexts(dictionary)
    SourceTexts(dictionary)  # for another generator of the same process
    ids = dictionary.encode_line("  one   two ", add_if_not_exist=False, append_eos=False)
    assert dictionary.string(ids) == "one two"
    assert dictionary.string(ids) == "<unk> <unk>"
