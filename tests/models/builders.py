"""Models as `build_model` makes them, on dictionaries made up here."""

from types import SimpleNamespace

from fairseq.data import Dictionary

from s2s_plugin.models.attn_rnn_s2s import AttnRNNS2SModel
from s2s_plugin.models.config import AttnRNNS2SConfig

SMALL = {
    "encoder_embed_dim": 6,
    "encoder_hidden_size": 5,
    "decoder_embed_dim": 4,
    "decoder_hidden_size": 7,
    "attn_dim": 3,
    "dropout": 0.0,
}


def make_dictionary(words: int, prefix: str = "w") -> Dictionary:
    dictionary = Dictionary()
    for index in range(words):
        dictionary.add_symbol(f"{prefix}{index}")
    return dictionary


def make_task(source: Dictionary = None, target: Dictionary = None):
    """What `build_model` needs of a task."""
    return SimpleNamespace(
        source_dictionary=make_dictionary(8) if source is None else source,
        target_dictionary=make_dictionary(9, "t") if target is None else target,
    )


def make_model(task=None, **options) -> AttnRNNS2SModel:
    """A small model; options as in `AttnRNNS2SConfig`."""
    cfg = AttnRNNS2SConfig(**{**SMALL, **options})
    return AttnRNNS2SModel.build_model(cfg, make_task() if task is None else task).eval()
