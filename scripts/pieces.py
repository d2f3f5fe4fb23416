"""Which pieces of a tokenised sentence make up a word."""

import re

SCHEMES = ("none", "sentencepiece", "subword_nmt", "@@")
MARK = "\u2581"
# Scripts that are written without spaces, so that no space says where a word ends: Thai, Lao, Burmese, Khmer, Chinese
# and Japanese with their punctuation and full-width forms. Korean has spaces.
WITHOUT_SPACES = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u31f0-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uff9f"
    "\U00020000-\U0003ffff]"
)


def word_numbers(pieces: list[str], scheme: str, by_script: bool = False) -> list[int]:
    """The word, from 0, that each piece is part of; the end of the sentence, which follows the pieces, is one too.

    Args:
        pieces: without the end.
        scheme: of `SCHEMES`: ▁ marks the beginning of a word (sentencepiece), or @@ at the end of a piece that the word
            goes on (subword_nmt, @@); `none`: each piece is a word.
        by_script: pieces of scripts without spaces are words; else a run of them between spaces is one.

    Returns:
        A number for each piece and the end. A ▁ that stands alone is part of what follows.

    Raises:
        ValueError: another scheme.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"--post-process {scheme}: choose from {', '.join(SCHEMES)}")
    if scheme == "none":
        return list(range(len(pieces) + 1))
    numbers = [0]
    for before, piece in zip(pieces, [*pieces[1:], None], strict=False):
        if scheme == "sentencepiece":
            apart = piece is None or piece.startswith(MARK) or (by_script and is_apart(before, piece))
            begins = apart and before.strip(MARK) != ""
        else:
            begins = piece is None or not before.endswith("@@")
        numbers.append(numbers[-1] + begins)
    return numbers


def is_apart(before: str, piece: str) -> bool:
    """Whether two pieces meet in a script without spaces."""
    return bool(WITHOUT_SPACES.match(before[-1:]) or WITHOUT_SPACES.match(piece))


def join(pieces: list[str], numbers: list[int], scheme: str) -> list[str]:
    """The text of each word. Args: `numbers` of the pieces and the end; `scheme` as in `word_numbers`."""
    words = [""] * numbers[-1]
    for piece, number in zip(pieces, numbers, strict=False):
        if number < len(words):  # a ▁ alone may be part of the end
            text = piece.lstrip(MARK) if scheme == "sentencepiece" else piece
            words[number] += text.removesuffix("@@") if scheme in ("subword_nmt", "@@") else text
    return words
