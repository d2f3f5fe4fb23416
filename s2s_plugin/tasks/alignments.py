"""What fairseq-generate and fairseq-interactive print of the attention, and how they replace unknown words by it.

Both come from the weights that the search has kept for every hypothesis. fairseq's own code takes them apart wrongly in
places; the objects here are such that its commands print and replace what they mean to:

- --replace-unk takes the alignment of a word for a number (utils.py, replace_unk), --print-alignment for a pair;
- --replace-unk without a lexicon is filled in with the mark of --remove-bpe, and looks for a file of that name;
- fairseq-interactive takes rows of weights for pairs (interactive.py, main), and knows source words by the dictionary
  alone, which has no unknown ones.
"""

import functools
import sys
from collections import defaultdict, deque
from collections.abc import Iterable

import torch
from fairseq import utils
from fairseq.data import Dictionary, data_utils
from fairseq.sequence_scorer import SequenceScorer
from torch import Tensor

PIECES = ("none", "sentencepiece", "subword_nmt")
WORD_MARK = "\u2581"  # of sentencepiece, where a word begins
END_OF_ROW = "\0"


class Link(tuple):
    """(source position, target position) of --print-alignment hard, and as an index the former."""

    def __index__(self) -> int:
        return self[0]


class Links(list):
    """A `Link` for each target word, of which those without a source word, of an empty line, are not printed."""

    def __iter__(self):
        return (link for link in list.__iter__(self) if link[0] >= 0)


class Row(list):
    """A target token's weights as --print-alignment soft prints them, and as an index the largest one's place."""

    place: int

    def __index__(self) -> int:
        return self.place


class RowAsPair(Row):
    """The same for fairseq-interactive, which unpacks it as a pair and puts a `-` between both."""

    def __iter__(self):
        return iter((",".join(list.__iter__(self)), END_OF_ROW))


def word_numbers(symbols: list[str], pieces: str) -> list[int]:
    """The word, from 0, that each symbol is part of, as --remove-bpe joins them; the end of the sentence is a word too.

    Args:
        symbols: of the dictionary, without the end.   pieces: of `PIECES`; `none`: each is a word.

    Returns:
        A number for each symbol and the end. A mark of sentencepiece that stands alone is part of what follows.
    """
    if pieces == "none":
        return list(range(len(symbols) + 1))
    numbers = [0]
    for before, symbol in zip(symbols, [*symbols[1:], None], strict=False):
        if pieces == "sentencepiece":
            begins = before.strip(WORD_MARK) != "" and (symbol is None or symbol.startswith(WORD_MARK))
        else:
            begins = symbol is None or not before.endswith("@@")
        numbers.append(numbers[-1] + begins)
    return numbers


def check_pieces(dictionaries: Iterable[Dictionary], pieces: str) -> None:
    """Raises ValueError if a symbol has parts of two words, which only sentencepiece makes, and only if told to."""
    for dictionary in dictionaries if pieces == "sentencepiece" else ():
        for symbol in dictionary.symbols:
            if WORD_MARK in symbol.lstrip(WORD_MARK):
                raise ValueError(f"--alignment-words sentencepiece: {symbol!r} of the dictionary is not of one word")


def merge_words(weights: Tensor, target: list[int], source: list[int]) -> Tensor:
    """Weights of words: a source word has the sum of its pieces', a target word the mean, so that rows still sum to 1.

    Args:
        weights: (T, S).   target: T words' numbers, in order, from 0.   source: S.

    Returns:
        (words of the target, words of the source).
    """
    rows, columns = torch.tensor(target, dtype=torch.long), torch.tensor(source, dtype=torch.long)
    by_source = weights.new_zeros(len(target), source[-1] + 1).index_add(1, columns, weights)
    merged = by_source.new_zeros(target[-1] + 1, by_source.size(1)).index_add(0, rows, by_source)
    return merged / torch.bincount(rows).unsqueeze(1)


def printed(tokens: list[int], unprinted: set[int]) -> list[int]:
    """The places of the tokens that fairseq prints, and of the last one, the end."""
    return [place for place, token in enumerate(tokens[:-1]) if token not in unprinted] + [len(tokens) - 1]


def attend_again(hypotheses: list[dict], source: Tensor, models: list, dictionary: Dictionary) -> None:
    """Replaces the attention of the hypotheses of a search by that of a forced pass over their tokens.

    For those whose prefix holds the end: fairseq takes one beam's tokens and scores for all, but not its attention.

    Args:
        source: a row of the batch.   dictionary: of the target.
    """
    scorer = SequenceScorer(dictionary)
    for hypothesis in hypotheses:
        target = hypothesis["tokens"].unsqueeze(0)
        before = torch.cat([target.new_full((1, 1), dictionary.eos()), target[:, :-1]], dim=1)
        lengths = source.ne(dictionary.pad()).sum().unsqueeze(0)
        net_input = {"src_tokens": source.unsqueeze(0), "src_lengths": lengths, "prev_output_tokens": before}
        ((forced,),) = scorer.generate(models, {"net_input": net_input, "target": target})
        hypothesis["attention"] = forced["attention"].t()


def align(weights: Tensor, kind: str, pair_rows: bool = False) -> list:
    """The alignment of a hypothesis.

    Args:
        weights: (T, S), the ends of both sides in the last row and column.
        kind: `hard`: the real word with the largest weight for each real target word; `soft`: all weights.
        pair_rows: give rows as fairseq-interactive wants them.

    Returns:
        `Links`, or a `Row` for each target word and the end.
    """
    places = weights[:, :-1].argmax(dim=1).tolist() if weights.size(1) > 1 else [-1] * len(weights)
    if kind == "hard":
        return Links(Link((source, target)) for target, source in enumerate(places[:-1]))
    rows = []
    for place, row in zip(places, weights.tolist(), strict=True):
        rows.append((RowAsPair if pair_rows else Row)(f"{weight:.6f}" for weight in row))
        rows[-1].place = place
    return rows


def interactive():
    """The module of fairseq-interactive, if this process has it."""
    for name in ("__main__", "fairseq_cli.interactive"):
        module = sys.modules.get(name)
        if getattr(module, "buffered_read", None) and getattr(module, "make_batches", None):
            return module
    return None


def mend_replace_unk() -> None:
    """Lets --replace-unk stand without a lexicon, where fairseq gives it the value of a bare --remove-bpe; refuses both
    together, which would take pieces for words; and leaves unknown words of an empty line as they are."""
    load, process = utils.load_align_dict, utils.post_process_prediction
    if hasattr(load, "mended"):
        return

    @functools.wraps(load)
    def load_align_dict(replace_unk):
        return load("" if replace_unk == "@@ " else replace_unk)

    @functools.wraps(process)
    def post_process_prediction(
        hypo_tokens, src_str, alignment, align_dict, tgt_dict, remove_bpe=None, extra_symbols_to_ignore=None
    ):
        if align_dict is not None and remove_bpe is not None:
            raise ValueError(
                f"--replace-unk is for models of whole words, and --remove-bpe {remove_bpe} (--post-process) for pieces"
            )
        if align_dict is not None and not src_str.strip():  # no word that could stand in its place
            align_dict = {**align_dict, "<eos>": tgt_dict.unk_string()}
        return process(hypo_tokens, src_str, alignment, align_dict, tgt_dict, remove_bpe, extra_symbols_to_ignore)

    load_align_dict.mended = True
    utils.load_align_dict, utils.post_process_prediction = load_align_dict, post_process_prediction


def mend_interactive(module) -> None:
    """Lets it print rows of weights as fairseq-generate does: every `RowAsPair` leaves a mark, which is taken out."""

    def print_rows(*args, **kwargs):
        without_marks = (a.replace(f"-{END_OF_ROW}", "") if isinstance(a, str) else a for a in args)
        print(*without_marks, **kwargs)

    module.print = print_rows


class SourceTexts:
    """Lets a dictionary give back the words that it has encoded, where it would give `<unk>`.

    For fairseq-interactive, which encodes each line once and turns it back once, in the same order.

    Args:
        dictionary: of the source; its `encode_line` and `string` are replaced, once.
    """

    def __init__(self, dictionary: Dictionary):
        if isinstance(getattr(dictionary.string, "__self__", None), SourceTexts):
            return
        self.texts = defaultdict(deque)
        self.encode, self.decode = dictionary.encode_line, dictionary.string
        dictionary.encode_line, dictionary.string = self.encode_line, self.string

    def encode_line(self, line, *args, **kwargs):
        ids = self.encode(line, *args, **kwargs)
        self.texts[tuple(ids.tolist())].append(" ".join(line.split()))
        return ids

    def string(self, tensor, bpe_symbol=None, *args, **kwargs):
        waiting = self.texts.get(tuple(tensor.tolist())) if torch.is_tensor(tensor) and tensor.dim() == 1 else None
        if not waiting:
            return self.decode(tensor, bpe_symbol, *args, **kwargs)
        return data_utils.post_process(waiting.popleft(), bpe_symbol)
