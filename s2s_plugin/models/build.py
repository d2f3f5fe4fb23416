"""From the flat options of `config.py` to the modules of encoder and decoder."""

import torch
from fairseq.data import Dictionary
from torch import Tensor

from ..modules.attention import AdditiveAttention
from ..modules.bridge import Bridge
from ..modules.cells import CellKind, check_sizes
from ..modules.decoder import RNNDecoder
from ..modules.encoder import RNNEncoder
from ..modules.first_layer import FIRST_LAYERS
from ..modules.pointer import Pointer
from ..modules.readout import Readout
from ..modules.rnn import build_rnn
from ..modules.speech_encoder import SpeechEncoder
from ..modules.speech_frontend import ConvolutionalFrontEnd
from .check import conv_channels, first, has_attention


def output_size(cfg) -> int:
    """D, width of the readout."""
    return first(cfg.decoder_out_embed_dim, cfg.decoder_embed_dim)


def cell_kind(cfg, side: str) -> CellKind:
    """The cells of a side, `encoder` or `decoder`."""

    def option(name: str):
        return getattr(cfg, f"{side}_{name}")

    name = str(option("cell"))
    return CellKind(
        name=name,
        layer_norm=option("layer_norm"),
        dropout=option("dropout_hidden"),
        transitions=option("transition_depth"),
        hidden_init=str(cfg.hidden_init),
        forget_bias=cfg.forget_gate_bias if name == "lstm" else 0.0,
    )


def build_encoder(cfg) -> RNNEncoder:
    """The layers of the encoder."""
    return RNNEncoder(
        kind=cell_kind(cfg, "encoder"),
        input_size=cfg.encoder_embed_dim,
        hidden_size=first(cfg.encoder_hidden_size, cfg.encoder_embed_dim),
        num_layers=cfg.encoder_layers,
        bidirectional=cfg.encoder_bidirectional,
        dropout=first(cfg.encoder_dropout_out, cfg.dropout),
        is_variational=cfg.variational_dropout,
        residual=cfg.encoder_residual,
    )


def build_speech_encoder(cfg, features: int) -> SpeechEncoder:
    """The layers of the encoder of speech. Args: features F, numbers of a frame."""
    return SpeechEncoder(
        front_end=ConvolutionalFrontEnd(input_size=features, channels=conv_channels(cfg)),
        kind=cell_kind(cfg, "encoder"),
        hidden_size=cfg.encoder_hidden_size,
        num_layers=cfg.encoder_layers,
        halvings=cfg.encoder_halvings,
        bidirectional=cfg.encoder_bidirectional,
        dropout_in=first(cfg.encoder_dropout_in, cfg.dropout),
        dropout=first(cfg.encoder_dropout_out, cfg.dropout),
        is_variational=cfg.variational_dropout,
    )


def build_decoder(cfg, memory_size: int, copies: bool = False) -> RNNDecoder:
    """The layers of the decoder. Args: memory_size M, width of the encoder's output; copies, whether it can."""
    kind, size = cell_kind(cfg, "decoder"), first(cfg.decoder_hidden_size, cfg.decoder_embed_dim)
    check_sizes(embed_dim=cfg.decoder_embed_dim, hidden_size=size, num_layers=cfg.decoder_layers)
    first_layer = _build_first_layer(cfg, kind, size, memory_size)
    feeds_context = str(cfg.decoder_context) == "all"
    width = size + (first_layer.context_size if feeds_context else 0)
    readout_input = size + first_layer.context_size + cfg.decoder_embed_dim
    dropout = first(cfg.decoder_dropout_out, cfg.dropout)
    return RNNDecoder(
        bridge=Bridge(
            kind=str(cfg.decoder_bridge),
            memory_size=memory_size,
            hidden_size=size,
            num_layers=cfg.decoder_layers,
            has_cell=kind.has_cell,
        ),
        first_layer=first_layer,
        upper_layers=[build_rnn(kind, width, size) for _ in range(cfg.decoder_layers - 1)],
        readout=Readout(
            kind=str(cfg.decoder_readout),
            input_size=readout_input,
            output_size=output_size(cfg),
        ),
        dropout=dropout,
        readout_dropout=first(cfg.decoder_dropout_readout, dropout),
        is_variational=cfg.variational_dropout,
        residual=cfg.decoder_residual,
        feeds_context=feeds_context,
        pointer=Pointer(input_size=readout_input) if copies else None,
    )


def build_copy_map(source: Dictionary, target: Dictionary) -> Tensor:
    """(V,) int64: for each source word the target's word of the same spelling, or the unknown word."""
    return torch.tensor([target.index(word) for word in source.symbols])


def _build_first_layer(cfg, kind: CellKind, size: int, memory_size: int):
    mode, attention = "none", None
    if has_attention(cfg):
        mode = str(cfg.attn_mode)
        attention = AdditiveAttention(
            query_size=size,
            memory_size=memory_size,
            attn_dim=first(cfg.attn_dim, size),
            energy=str(cfg.attn_energy),
            heads=cfg.attn_heads,
            dropout=cfg.attn_dropout,
            coverage=cfg.coverage_attn,
            location_filters=cfg.attn_location_filters,
            location_width=cfg.attn_location_width,
        )
    return FIRST_LAYERS[mode](
        kind=kind, input_size=cfg.decoder_embed_dim, hidden_size=size, memory_size=memory_size, attention=attention
    )
