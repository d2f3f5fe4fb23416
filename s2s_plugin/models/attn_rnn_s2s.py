"""Registers `attn_rnn_s2s` and its presets with fairseq and builds the model from the options."""

from contextlib import nullcontext
from dataclasses import fields

from fairseq.data import Dictionary
from fairseq.models import FairseqEncoderDecoderModel, register_model, register_model_architecture
from omegaconf import DictConfig, open_dict
from torch import nn

from ..modules.decoder import RNNDecoder
from ..modules.precision import check_compute_dtype
from ..ops.int8 import dequantize_state
from ..ops.sparse import unpack_state
from .build import build_copy_map, build_decoder, build_encoder, output_size
from .check import check_options, check_sharing, cutoffs, first
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
        fill_defaults(cfg, AttnRNNS2SConfig())
        if task.source_dictionary is None or task.target_dictionary is None:
            raise ValueError("attn_rnn_s2s needs a source and a target dictionary: use --task attn_translation")
        check_compute_dtype(str(cfg.compute_dtype))
        check_options(cfg, AttnRNNS2SConfig())
        check_sharing(cfg, task)
        encoder_embed, decoder_embed = _build_embeddings(cfg, task)
        encoder = build_encoder(cfg)
        return cls(
            AttnRNNEncoder(
                task.source_dictionary,
                encoder_embed,
                encoder,
                dropout_in=first(cfg.encoder_dropout_in, cfg.dropout),
                word_dropout=cfg.encoder_word_dropout,
                is_variational=cfg.variational_dropout,
                compute_dtype=str(cfg.compute_dtype),
                copy_map=build_copy_map(task.source_dictionary, task.target_dictionary) if cfg.copy_attn else None,
            ),
            embed_and_project(
                cfg,
                task.target_dictionary,
                decoder_embed,
                build_decoder(cfg, encoder.output_size, copies=cfg.copy_attn),
                share=cfg.share_decoder_input_output_embed or cfg.share_all_embeddings,
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
            What `AttnRNNDecoder.forward` does: logits (B, T, V), or features (B, T, D); and a dict with `attn`:
            [(B, T, S)] in the frame of `src_tokens`.
        """
        encoder_out = self.encoder(src_tokens, src_lengths)
        return self.decoder(prev_output_tokens, encoder_out=encoder_out, features_only=features_only)

    def load_state_dict(self, state_dict, strict=True, model_cfg=None, args=None):
        """Raises ValueError where the checkpoint's dictionaries have other sizes than the task's."""
        state_dict = dequantize_state(unpack_state(state_dict))
        check_vocabulary(state_dict, "encoder", self.encoder, "source")
        check_vocabulary(state_dict, "decoder", self.decoder, "target")
        return super().load_state_dict(state_dict, strict, model_cfg, args)


def check_vocabulary(state_dict, side: str, part: nn.Module, which: str) -> None:
    """Raises ValueError where the dictionary has another size than that of the checkpoint.

    Args:
        part: the encoder or decoder, with `embed_tokens` and `dictionary`.
    """
    name, words = f"{side}.embed_tokens.weight", part.embed_tokens.num_embeddings
    if name in state_dict and state_dict[name].size(0) != words:
        path = getattr(part.dictionary, "path", "what is given")
        raise ValueError(
            f"the {which} dictionary holds {words} symbols, but the checkpoint was trained with "
            f"{state_dict[name].size(0)}: use the dict.*.txt of its training for {path}"
        )


def embed_and_project(
    cfg, dictionary: Dictionary, embed_tokens: nn.Embedding, decoder: RNNDecoder, *, share: bool
) -> AttnRNNDecoder:
    """The decoder as fairseq calls it. Args: share, whether the output projection is the embedding."""
    return AttnRNNDecoder(
        dictionary,
        embed_tokens,
        decoder,
        output_size=output_size(cfg),
        dropout_in=first(cfg.decoder_dropout_in, cfg.dropout),
        word_dropout=cfg.decoder_word_dropout,
        is_variational=cfg.variational_dropout,
        dropout_out=first(cfg.decoder_dropout_out, cfg.dropout),
        share_input_output_embed=share,
        adaptive_softmax_cutoff=cutoffs(cfg),
        compute_dtype=str(cfg.compute_dtype),
    )


def _build_embeddings(cfg, task):
    """Those of encoder and decoder, which may be one."""
    encoder_embed = build_embedding(
        task.source_dictionary, cfg.encoder_embed_dim, cfg.encoder_embed_path, "--encoder-embed-dim"
    )
    decoder_embed = encoder_embed
    if not cfg.share_all_embeddings:
        decoder_embed = build_embedding(
            task.target_dictionary, cfg.decoder_embed_dim, cfg.decoder_embed_path, "--decoder-embed-dim"
        )
    if cfg.encoder_freeze_embed:
        encoder_embed.weight.requires_grad_(False)
    if cfg.decoder_freeze_embed:
        decoder_embed.weight.requires_grad_(False)
    return encoder_embed, decoder_embed


def fill_defaults(cfg, defaults) -> None:
    """Gives `cfg` the `defaults` that it lacks, an object of the dataclass: fairseq does not merge a preset's options
    with the dataclass, and an old checkpoint does not know new options."""
    with open_dict(cfg) if isinstance(cfg, DictConfig) else nullcontext():
        for entry in fields(defaults):
            if not entry.name.startswith("_") and not hasattr(cfg, entry.name):
                setattr(cfg, entry.name, getattr(defaults, entry.name))


def _register_preset(name: str, differences: dict) -> None:
    def apply(args) -> None:
        for option, value in differences.items():
            if not hasattr(args, option):
                setattr(args, option, value)

    register_model_architecture("attn_rnn_s2s", name)(apply)


for _name, _differences in PRESETS.items():
    _register_preset(_name, _differences)
