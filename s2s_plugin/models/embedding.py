"""Word embeddings, fresh or from a file."""

import os

from fairseq import utils
from fairseq.data import Dictionary
from torch import nn

from ..modules.cells import INIT_RANGE


def build_embedding(dictionary: Dictionary, embed_dim: int, path: str | None, option: str) -> nn.Embedding:
    """An embedding of the dictionary's symbols, 0 at padding.

    Args:
        dictionary: gives the V symbols.
        embed_dim: E.
        path: text file of pretrained vectors with a header line 'count width', as word2vec and fastText write it, then
            'word value value ...' a line; symbols that it lacks stay random. None for all random.
        option: name of the option that sets E, for the error message.

    Raises:
        ValueError: no such file, or vectors of another width than E.
    """
    embedding = nn.Embedding(len(dictionary), embed_dim, padding_idx=dictionary.pad())
    nn.init.uniform_(embedding.weight, -INIT_RANGE, INIT_RANGE)
    nn.init.zeros_(embedding.weight[dictionary.pad()])
    if path is None:
        return embedding
    if not os.path.isfile(path):
        raise ValueError(f"no file of pretrained embeddings at {path}")
    try:
        vectors = utils.parse_embedding(path)
    except (StopIteration, ValueError) as error:
        raise ValueError(
            f"{path} holds no embeddings (a header line, then 'word value value ...' a line): {error or 'it is empty'}"
        ) from error
    for word, vector in vectors.items():
        if len(vector) != embed_dim:
            raise ValueError(f"{path}: the vector of {word!r} has {len(vector)} values, but {option} is {embed_dim}")
    utils.print_embed_overlap(vectors, dictionary)
    return utils.load_embedding(vectors, dictionary, embedding)
