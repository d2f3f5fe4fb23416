"""Options of `attn_rnn_s2s` and `attn_rnn_s2t`; where fairseq's `lstm` has the option, it has its name and meaning."""

from dataclasses import dataclass, field
from typing import Optional

from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from omegaconf import II

from ..modules.attention import ENERGIES
from ..modules.bridge import BRIDGES
from ..modules.cells import HIDDEN_INITS
from ..modules.first_layer import FIRST_LAYERS
from ..modules.precision import COMPUTE_DTYPES
from ..modules.readout import READOUTS
from ..ops.reference import GATES

CELLS = ChoiceEnum(list(GATES))
CONTEXTS = ("all", "first")


@dataclass
class AttnRNNConfig(FairseqDataclass):
    """What both architectures have."""

    dropout: float = field(default=0.1, metadata={"help": "dropout where no more special option says otherwise"})

    variational_dropout: bool = field(
        default=False,
        metadata={
            "help": "dropout on embeddings, layers and readout drops the same units at every position of a sentence "
            "(Gal and Ghahramani 2016)"
        },
    )
    hidden_init: ChoiceEnum(list(HIDDEN_INITS)) = field(
        default="uniform", metadata={"help": "how the matrices between the states of recurrent layers start"}
    )
    forget_gate_bias: float = field(
        default=0.0, metadata={"help": "added to the bias of the forget gates of LSTMs at the start; 1 is usual"}
    )

    compute_dtype: ChoiceEnum(list(COMPUTE_DTYPES)) = field(
        default="float32",
        metadata={
            "help": "bfloat16: matrix products in bfloat16 (2 to 3 digits), and the states of layers without attention "
            "with them; parameters, attention, the attending layer's state, loss and optimiser stay in float32. For "
            "CPUs with AMX, and AMD's with AVX-512 BF16, which then train about 1.5 times as fast as in float32. int8: "
            "to translate on a CPU with a finished model, whose weights have eight bits then, and what they are "
            "multiplied with eight or seven; on CPUs that are slower so, the products stay in float32"
        },
    )

    encoder_cell: CELLS = field(default="gru", metadata={"help": "recurrent cell of the encoder"})
    encoder_layers: int = field(default=1, metadata={"help": "number of encoder layers"})
    encoder_bidirectional: bool = field(default=False, metadata={"help": "read the source in both directions"})
    encoder_layer_norm: bool = field(
        default=False, metadata={"help": "layer normalisation inside the encoder's cells (Ba et al. 2016)"}
    )
    encoder_transition_depth: int = field(
        default=1, metadata={"help": "cells of a step of the encoder; those after the first read no word"}
    )
    encoder_dropout_out: Optional[float] = field(
        default=None, metadata={"help": "dropout on the output of every encoder layer (default: --dropout)"}
    )

    encoder_dropout_hidden: float = field(
        default=0.0,
        metadata={"help": "dropout on the encoder's state before its matrix, one mask for all steps of a sentence"},
    )

    decoder_cell: CELLS = field(default="gru", metadata={"help": "recurrent cell of the decoder"})
    decoder_embed_dim: int = field(default=512, metadata={"help": "width of the target embeddings"})
    decoder_hidden_size: Optional[int] = field(
        default=None, metadata={"help": "state of the decoder (default: --decoder-embed-dim)"}
    )
    decoder_layers: int = field(default=1, metadata={"help": "number of decoder layers"})
    decoder_bridge: ChoiceEnum(list(BRIDGES)) = field(
        default="mean",
        metadata={"help": "the decoder starts from zeros, from the encoder's last states, or from the memory's mean"},
    )
    decoder_layer_norm: bool = field(
        default=False, metadata={"help": "layer normalisation inside the decoder's cells (Ba et al. 2016)"}
    )
    decoder_residual: bool = field(
        default=False, metadata={"help": "add the state below to the output of every decoder layer above the first"}
    )
    decoder_transition_depth: int = field(
        default=1,
        metadata={
            "help": "cells of a step of the decoder; those after the first read no word; attn-mode conditional adds one"
        },
    )
    decoder_attention: str = field(default="1", metadata={"help": "'0' for a decoder without attention"})
    attn_mode: ChoiceEnum([kind for kind in FIRST_LAYERS if kind != "none"]) = field(
        default="conditional",
        metadata={
            "help": "recurrent: the previous state asks, the context is part of the next state (Bahdanau et al. 2015); "
            "conditional: a first cell of the present step asks and a second one reads (Nematus); parallel: the first "
            "layer reads words alone and all contexts are read at once, which is faster (after GNMT)"
        },
    )
    attn_dim: Optional[int] = field(
        default=None, metadata={"help": "width of the attention's energies (default: --decoder-hidden-size)"}
    )
    attn_energy: ChoiceEnum(list(ENERGIES)) = field(
        default="additive",
        metadata={"help": "additive, or normed: its vector v has a length of its own (tensorflow/nmt, GNMT)"},
    )
    attn_heads: int = field(
        default=1, metadata={"help": "heads of the attention, which share --attn-dim and the memory's width (RNMT+)"}
    )
    attn_dropout: float = field(default=0.0, metadata={"help": "dropout on the weights that make the context"})
    coverage_attn: bool = field(
        default=False,
        metadata={
            "help": "the attention knows how much of each source position was read in earlier steps (See et al. 2017, "
            "eq. 11; Tu et al. 2016); goes well with --coverage-lambda of the criterion"
        },
    )
    attn_location_filters: int = field(
        default=0,
        metadata={
            "help": "convolutions over the attention weights of the step before, by which the attention knows where it "
            "is (Chorowski et al. 2015; 10 there, for speech); 0: none"
        },
    )
    attn_location_width: int = field(
        default=31,
        metadata={"help": "source positions that each of --attn-location-filters sees, an odd number (201 there)"},
    )
    decoder_context: ChoiceEnum(list(CONTEXTS)) = field(
        default="all",
        metadata={"help": "layers that read the context: all (GNMT), or the first alone; the readout always does"},
    )
    decoder_readout: ChoiceEnum(list(READOUTS)) = field(
        default="tanh", metadata={"help": "what makes features of state, context and word"}
    )
    decoder_out_embed_dim: Optional[int] = field(
        default=None, metadata={"help": "width of the readout, before the vocabulary (default: --decoder-embed-dim)"}
    )
    decoder_dropout_in: Optional[float] = field(
        default=None, metadata={"help": "dropout on the target embeddings (default: --dropout)"}
    )
    decoder_dropout_out: Optional[float] = field(
        default=None, metadata={"help": "dropout on the output of every decoder layer (default: --dropout)"}
    )
    decoder_dropout_readout: Optional[float] = field(
        default=None, metadata={"help": "dropout on the readout (default: --decoder-dropout-out)"}
    )
    decoder_dropout_hidden: float = field(
        default=0.0,
        metadata={"help": "dropout on the decoder's state before its matrix, one mask for all steps of a sentence"},
    )
    decoder_word_dropout: float = field(
        default=0.0, metadata={"help": "share of the previous target words whose embeddings are left out in training"}
    )

    share_decoder_input_output_embed: bool = field(
        default=False, metadata={"help": "the output projection is the target embedding"}
    )
    adaptive_softmax_cutoff: Optional[str] = field(
        default=None,
        metadata={"help": "comma separated cutoffs of an adaptive softmax; goes with --criterion adaptive_loss"},
    )
    # No option of its own: fairseq fills it in, so that what goes with one criterion only can be refused early.
    criterion: str = II("criterion._name")


@dataclass
class AttnRNNS2SConfig(AttnRNNConfig):
    """From text."""

    encoder_embed_dim: int = field(default=512, metadata={"help": "width of the source embeddings"})
    encoder_embed_path: Optional[str] = field(
        default=None, metadata={"help": "file of pretrained source embeddings: 'word value value ...' a line"}
    )
    encoder_freeze_embed: bool = field(default=False, metadata={"help": "do not train the source embeddings"})
    encoder_hidden_size: Optional[int] = field(
        default=None, metadata={"help": "state of one direction of the encoder (default: --encoder-embed-dim)"}
    )
    encoder_dropout_in: Optional[float] = field(
        default=None, metadata={"help": "dropout on the source embeddings (default: --dropout)"}
    )
    encoder_word_dropout: float = field(
        default=0.0, metadata={"help": "share of the source words whose embeddings are left out in training"}
    )
    decoder_embed_path: Optional[str] = field(
        default=None, metadata={"help": "file of pretrained target embeddings: 'word value value ...' a line"}
    )
    decoder_freeze_embed: bool = field(default=False, metadata={"help": "do not train the target embeddings"})
    encoder_residual: bool = field(
        default=False, metadata={"help": "add the input of every encoder layer above the first to its output"}
    )
    copy_attn: bool = field(
        default=False,
        metadata={
            "help": "copy words of the source by the attention weights, mixed with what is generated (the "
            "pointer-generator of See et al. 2017). A source word stands for the target word of the same spelling, or "
            "else for the unknown word"
        },
    )
    share_all_embeddings: bool = field(
        default=False,
        metadata={"help": "one embedding for source, target and output (needs a joint dictionary)"},
    )


@dataclass
class AttnRNNS2TConfig(AttnRNNConfig):
    """From speech."""

    encoder_conv_channels: str = field(
        default="32,32",
        metadata={
            "help": "channels of the convolutions before the recurrent layers, each of which halves the frames and the "
            "bands; '0' for none"
        },
    )
    encoder_halvings: int = field(
        default=0,
        metadata={"help": "recurrent layers, from the second on, that read pairs of steps (Chan et al. 2016; 3 there)"},
    )
    encoder_hidden_size: int = field(default=256, metadata={"help": "state of one direction of the encoder"})
    encoder_dropout_in: Optional[float] = field(
        default=None, metadata={"help": "dropout on what the first recurrent layer reads (default: --dropout)"}
    )
    encoder_ctc: bool = field(
        default=False,
        metadata={
            "help": "the encoder has an output of its own, for --ctc-weight of the criterion (Watanabe et al. 2017)"
        },
    )
