"""Registers `attn_rnn_s2s` and its presets with fairseq and builds the model from the options."""

from contextlib import nullcontext
from dataclasses import fields

from fairseq import utils
from fairseq.models import FairseqEncoderDecoderModel, register_model, register_model_architecture
from omegaconf import DictConfig, open_dict

from ..modules.decoder import RNNDecoder
from ..modules.encoder import RNNEncoder
from ..modules.precision import check_compute_dtype
from .config import AttnRNNS2SConfig
from .decoder import AttnRNNDecoder
from .embedding import build_embedding
from .encoder import AttnRNNEncoder
from .presets import PRESETS


@register_model("attn_rnn_s2s", dataclass=AttnRNNS2SConfig)
class AttnRNNS2SModel(FairseqEncoderDecoderModel):
    """RNN encoder, additive attention, RNN decoder (Bahdanau, Cho and Bengio 2015), as fairseq's commands drive it."""

    @classmethod
    def build_model(cls, cfg, task):
        """Builds the model for the task's dictionaries.

        Raises:
            ValueError: options that do not go together or with the dictionaries; the message names them.
        """
        _fill_defaults(cfg)
        if task.source_dictionary is None or task.target_dictionary is None:
            raise ValueError("attn_rnn_s2s needs a source and a target dictionary: use --task attn_translation")
        compute_dtype = str(cfg.compute_dtype)
        check_compute_dtype(compute_dtype)
        has_attention = _attention_switch(cfg.decoder_attention)
        if not has_attention and (cfg.attn_dim is not None or str(cfg.attn_mode) != "recurrent"):
            raise ValueError("--attn-dim and --attn-mode mean nothing with --decoder-attention 0")
        decoder_size = _first(cfg.decoder_hidden_size, cfg.decoder_embed_dim)
        out_embed_dim = _first(cfg.decoder_out_embed_dim, cfg.decoder_embed_dim)
        _check_sharing(cfg, out_embed_dim, task)
        cutoffs = _cutoffs(cfg)

        encoder_embed = build_embedding(
            task.source_dictionary, cfg.encoder_embed_dim, cfg.encoder_embed_path, "--encoder-embed-dim"
        )
        if cfg.share_all_embeddings:
            decoder_embed = encoder_embed
        else:
            decoder_embed = build_embedding(
                task.target_dictionary, cfg.decoder_embed_dim, cfg.decoder_embed_path, "--decoder-embed-dim"
            )
        if cfg.encoder_freeze_embed:
            encoder_embed.weight.requires_grad_(False)
        if cfg.decoder_freeze_embed:
            decoder_embed.weight.requires_grad_(False)

        encoder = RNNEncoder(
            cell=str(cfg.encoder_cell),
            input_size=cfg.encoder_embed_dim,
            hidden_size=_first(cfg.encoder_hidden_size, cfg.encoder_embed_dim),
            num_layers=cfg.encoder_layers,
            bidirectional=cfg.encoder_bidirectional,
            dropout=_first(cfg.encoder_dropout_out, cfg.dropout),
        )
        dropout_out = _first(cfg.decoder_dropout_out, cfg.dropout)
        decoder = RNNDecoder(
            cell=str(cfg.decoder_cell),
            embed_dim=cfg.decoder_embed_dim,
            hidden_size=decoder_size,
            num_layers=cfg.decoder_layers,
            memory_size=encoder.output_size,
            output_size=out_embed_dim,
            attention=str(cfg.attn_mode) if has_attention else "none",
            attn_dim=_first(cfg.attn_dim, decoder_size),
            bridge=str(cfg.decoder_bridge),
            dropout=dropout_out,
        )
        return cls(
            AttnRNNEncoder(
                task.source_dictionary,
                encoder_embed,
                encoder,
                dropout_in=_first(cfg.encoder_dropout_in, cfg.dropout),
                compute_dtype=compute_dtype,
            ),
            AttnRNNDecoder(
                task.target_dictionary,
                decoder_embed,
                decoder,
                output_size=out_embed_dim,
                dropout_in=_first(cfg.decoder_dropout_in, cfg.dropout),
                dropout_out=dropout_out,
                share_input_output_embed=cfg.share_decoder_input_output_embed or cfg.share_all_embeddings,
                adaptive_softmax_cutoff=cutoffs,
                compute_dtype=compute_dtype,
            ),
        )

    def forward(self, src_tokens, src_lengths, prev_output_tokens, features_only: bool = False):
        """Teacher forcing.

        Args:
            src_tokens: (B, S) int64, padded on either side.
            src_lengths: (B,) int64; unused, the padding tells.
            prev_output_tokens: (B, T) int64, the target shifted right.
            features_only: leave out the output projection.

        Returns:
            logits (B, T, V), or features (B, T, D); and a dict with `attn`: [(B, T, S)] in the frame of `src_tokens`.
        """
        encoder_out = self.encoder(src_tokens, src_lengths)
        return self.decoder(prev_output_tokens, encoder_out=encoder_out, features_only=features_only)

    def load_state_dict(self, state_dict, strict=True, model_cfg=None, args=None):
        """Raises ValueError where the checkpoint's dictionaries have other sizes than the task's."""
        for side in ("encoder", "decoder"):
            name = f"{side}.embed_tokens.weight"
            words = getattr(self, side).embed_tokens.num_embeddings
            if name in state_dict and state_dict[name].size(0) != words:
                which = "source" if side == "encoder" else "target"
                raise ValueError(
                    f"the {which} dictionary holds {words} symbols, but the checkpoint was trained with "
                    f"{state_dict[name].size(0)}: use the dict.*.txt of its training"
                )
        return super().load_state_dict(state_dict, strict, model_cfg, args)


def _first(*values):
    """The first value that is set."""
    return next(value for value in values if value is not None)


def _cutoffs(cfg) -> list[int] | None:
    """Cutoffs of the adaptive softmax, or None. Raises ValueError for a criterion that cannot use them."""
    if not cfg.adaptive_softmax_cutoff:
        return None
    criterion = str(cfg.criterion)
    if criterion != "adaptive_loss" and not criterion.startswith("${"):  # not filled in where no command was given
        raise ValueError(f"--adaptive-softmax-cutoff goes with --criterion adaptive_loss, not {criterion}")
    return utils.eval_str_list(cfg.adaptive_softmax_cutoff, type=int)


def _attention_switch(value) -> bool:
    """fairseq's `lstm` takes --decoder-attention as a word for a bool."""
    words = {"1": True, "true": True, "0": False, "false": False}
    if str(value).lower() not in words:
        raise ValueError(f"--decoder-attention {value}: choose from {', '.join(words)}")
    return words[str(value).lower()]


def _fill_defaults(cfg) -> None:
    """Gives `cfg` the defaults that it lacks: fairseq does not merge a preset's options with the dataclass, and an old
    checkpoint does not know new options."""
    defaults = AttnRNNS2SConfig()
    with open_dict(cfg) if isinstance(cfg, DictConfig) else nullcontext():
        for entry in fields(AttnRNNS2SConfig):
            if not entry.name.startswith("_") and not hasattr(cfg, entry.name):
                setattr(cfg, entry.name, getattr(defaults, entry.name))


def _check_sharing(cfg, out_embed_dim: int, task) -> None:
    """Raises ValueError where embeddings that are to be one do not fit each other."""
    shares_output = cfg.share_decoder_input_output_embed or cfg.share_all_embeddings
    if cfg.share_all_embeddings:
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


def _register_preset(name: str, differences: dict) -> None:
    def apply(args) -> None:
        for option, value in differences.items():
            if not hasattr(args, option):
                setattr(args, option, value)

    register_model_architecture("attn_rnn_s2s", name)(apply)


for _name, _differences in PRESETS.items():
    _register_preset(_name, _differences)
