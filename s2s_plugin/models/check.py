"""Options that do not go together, found before anything is built. What modules check themselves is not repeated."""

from fairseq import utils


def first(*values):
    """The first value that is set."""
    return next(value for value in values if value is not None)


def cutoffs(cfg) -> list[int] | None:
    """Cutoffs of the adaptive softmax, or None. Raises ValueError for a criterion that cannot use them."""
    if not cfg.adaptive_softmax_cutoff:
        return None
    criterion = str(cfg.criterion)
    if criterion != "adaptive_loss" and not criterion.startswith("${"):  # not filled in where no command was given
        raise ValueError(f"--adaptive-softmax-cutoff goes with --criterion adaptive_loss, not {criterion}")
    return utils.eval_str_list(cfg.adaptive_softmax_cutoff, type=int)


def conv_channels(cfg) -> list[int]:
    """Channels of the convolutions of speech, none for '0'. Raises ValueError for what are no numbers."""
    text = str(cfg.encoder_conv_channels)
    try:
        channels = [] if text.strip() == "0" else [int(word) for word in text.split(",")]
    except ValueError:
        channels = [0]
    if min(channels, default=1) < 1:
        raise ValueError(f"--encoder-conv-channels {text}: numbers between commas such as 32,32, or 0 for none")
    return channels


def has_attention(cfg) -> bool:
    """Whether the decoder attends: fairseq's `lstm` takes --decoder-attention as a word for a bool."""
    words = {"1": True, "true": True, "0": False, "false": False}
    value = str(cfg.decoder_attention).lower()
    if value not in words:
        raise ValueError(f"--decoder-attention {cfg.decoder_attention}: choose from {', '.join(words)}")
    return words[value]


NEED_ATTENTION = (
    "attn_dim",
    "attn_mode",
    "attn_energy",
    "attn_heads",
    "attn_dropout",
    "coverage_attn",
    "attn_location_filters",
    "attn_location_width",
    "copy_attn",
    "decoder_context",
)


def check_options(cfg, defaults) -> None:
    """Raises ValueError for an option that has nothing to act on; the message names both.

    Args:
        defaults: an object of the dataclass of the options.
    """
    if not has_attention(cfg):
        names = [name for name in NEED_ATTENTION if hasattr(defaults, name)]
        given = [name for name in names if str(getattr(cfg, name)) != str(getattr(defaults, name))]
        if given:
            names = " and ".join(_flag(name) for name in given)
            raise ValueError(f"{names} can mean nothing with --decoder-attention 0")
    if getattr(cfg, "copy_attn", False) and cfg.adaptive_softmax_cutoff:
        raise ValueError("--copy-attn mixes copying with a whole softmax: leave --adaptive-softmax-cutoff out")
    if cfg.attn_location_width != defaults.attn_location_width and not cfg.attn_location_filters:
        raise ValueError(
            f"--attn-location-width {cfg.attn_location_width} is for --attn-location-filters, but there are none"
        )
    if cfg.attn_location_filters < 0 or cfg.attn_location_width < 1 or cfg.attn_location_width % 2 == 0:
        raise ValueError(
            f"--attn-location-filters {cfg.attn_location_filters} and --attn-location-width {cfg.attn_location_width}: "
            f"a number of at least 0, and an odd one"
        )
    for side in ("encoder", "decoder"):
        if getattr(cfg, f"{side}_residual", False) and getattr(cfg, f"{side}_layers") < 2:
            raise ValueError(f"--{side}-residual is between layers: it needs --{side}-layers of at least 2")
    if str(cfg.decoder_context) == "first" and cfg.decoder_layers < 2:
        raise ValueError("--decoder-context first is about the layers above the first: it needs --decoder-layers 2")
    if cfg.forget_gate_bias and "lstm" not in (str(cfg.encoder_cell), str(cfg.decoder_cell)):
        raise ValueError(
            f"--forget-gate-bias {cfg.forget_gate_bias} is for lstm, but --encoder-cell is {cfg.encoder_cell} and "
            f"--decoder-cell {cfg.decoder_cell}"
        )


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def check_sharing(cfg, task) -> None:
    """Raises ValueError where embeddings that are to be one do not fit each other."""
    out_embed_dim = first(cfg.decoder_out_embed_dim, cfg.decoder_embed_dim)
    shares_all = getattr(cfg, "share_all_embeddings", False)
    shares_output = cfg.share_decoder_input_output_embed or shares_all
    if shares_all:
        if task.source_dictionary != task.target_dictionary:
            raise ValueError(
                "--share-all-embeddings needs a joint dictionary, but source and target differ: "
                "preprocess with fairseq-preprocess --joined-dictionary"
            )
        if cfg.encoder_embed_dim != cfg.decoder_embed_dim:
            raise ValueError(
                f"--share-all-embeddings needs --encoder-embed-dim ({cfg.encoder_embed_dim}) equal to "
                f"--decoder-embed-dim ({cfg.decoder_embed_dim})"
            )
        if cfg.decoder_embed_path and cfg.decoder_embed_path != cfg.encoder_embed_path:
            raise ValueError(
                f"--share-all-embeddings needs --decoder-embed-path ({cfg.decoder_embed_path}) equal to "
                f"--encoder-embed-path ({cfg.encoder_embed_path})"
            )
    if shares_output and cfg.decoder_embed_dim != out_embed_dim:
        raise ValueError(
            f"a shared output embedding needs --decoder-embed-dim ({cfg.decoder_embed_dim}) equal to "
            f"--decoder-out-embed-dim ({out_embed_dim})"
        )
