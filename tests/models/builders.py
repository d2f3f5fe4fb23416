"""Models as `build_model` makes them, on dictionaries made up here."""

from types import SimpleNamespace

from fairseq.data import Dictionary

from s2s_plugin.models.attn_rnn_s2s import AttnRNNS2SModel
from s2s_plugin.models.config import AttnRNNS2SConfig
from s2s_plugin.models.presets import PRESETS

SMALL = {
    "encoder_embed_dim": 6,
    "encoder_hidden_size": 6,
    "decoder_embed_dim": 4,
    "decoder_hidden_size": 7,
    "attn_dim": 8,
    "dropout": 0.0,
}


def preset(name: str) -> dict:
    """The options of an architecture, but for its sizes, and with at most three layers a side."""
    sizes = {*SMALL, "decoder_out_embed_dim"} - {"dropout"}
    options = {option: value for option, value in PRESETS[name].items() if option not in sizes}
    return {option: min(value, 3) if option.endswith("_layers") else value for option, value in options.items()}


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
