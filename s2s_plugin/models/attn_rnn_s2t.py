"""Registers `attn_rnn_s2t`, from speech to text, with fairseq and builds the model from the options."""

from fairseq.dataclass.utils import gen_parser_from_dataclass
from fairseq.models import FairseqEncoderDecoderModel, register_model, register_model_architecture

from ..modules.precision import check_compute_dtype
from ..ops.int8 import dequantize_state
from ..ops.sparse import unpack_state
from .attn_rnn_s2s import check_vocabulary, embed_and_project, fill_defaults
from .build import build_decoder, build_speech_encoder
from .check import check_options, check_sharing
from .config import AttnRNNS2TConfig
from .embedding import build_embedding
from .speech_encoder import AttnRNNSpeechEncoder


@register_model("attn_rnn_s2t")
class AttnRNNS2TModel(FairseqEncoderDecoderModel):
    """Listen, Attend and Spell (Chan et al. 2016): convolutions and a pyramid of RNNs, attention, an RNN decoder.

    For fairseq's task `speech_to_text`, which hands options on as it reads them: no dataclass is registered.
    """

    @staticmethod
    def add_args(parser) -> None:
        gen_parser_from_dataclass(parser, AttnRNNS2TConfig(), delete_default=True)

    @classmethod
    def build_model(cls, cfg, task):
        """Builds the model for the task's features and dictionary.

        Raises:
            ValueError: options that do not go together; the message names them.
        """
        fill_defaults(cfg, AttnRNNS2TConfig())
        features = getattr(cfg, "input_feat_per_channel", None)
        if features is None:
            raise ValueError("attn_rnn_s2t reads frames of features: use --task speech_to_text")
        criterion = str(getattr(cfg, "criterion", None) or "")
        if cfg.encoder_ctc and criterion not in ("", "attn_label_smoothed_cross_entropy") and "${" not in criterion:
            raise ValueError(
                f"--encoder-ctc goes with --criterion attn_label_smoothed_cross_entropy --ctc-weight, not {criterion}"
            )
        check_compute_dtype(str(cfg.compute_dtype))
        check_options(cfg, AttnRNNS2TConfig())
        check_sharing(cfg, task)
        encoder = build_speech_encoder(cfg, int(features) * int(cfg.input_channels))
        embed = build_embedding(task.target_dictionary, cfg.decoder_embed_dim, None, "--decoder-embed-dim")
        return cls(
            AttnRNNSpeechEncoder(
                encoder,
                compute_dtype=str(cfg.compute_dtype),
                ctc_size=len(task.target_dictionary) if cfg.encoder_ctc else 0,
            ),
            embed_and_project(
                cfg,
                task.target_dictionary,
                embed,
                build_decoder(cfg, encoder.output_size),
                share=cfg.share_decoder_input_output_embed,
            ),
        )

    def forward(self, src_tokens, src_lengths, prev_output_tokens, features_only: bool = False):
        """Teacher forcing.

        Args:
            src_tokens: (B, N, F), frames of 10 ms, padded at the end.
            src_lengths: (B,) int64, real frames.
            prev_output_tokens: (B, T) int64, the target shifted right.
            features_only: leave out the output projection.

        Returns:
            What `AttnRNNDecoder.forward` does, `attn` [(B, T, S)] of the encoder's S steps; and with --encoder-ctc in
            the dict `ctc`: log-probabilities (B, S, V) and the steps of each recording (B,).
        """
        encoder_out = self.encoder(src_tokens, src_lengths)
        y, extra = self.decoder(prev_output_tokens, encoder_out=encoder_out, features_only=features_only)
        if self.encoder.ctc_proj is not None:
            extra["ctc"] = self.encoder.ctc_lprobs(encoder_out), (~encoder_out.state.padding_mask).sum(dim=1)
        return y, extra

    def load_state_dict(self, state_dict, strict=True, model_cfg=None, args=None):
        """Raises ValueError where the checkpoint's dictionary has another size than the task's."""
        state_dict = dequantize_state(unpack_state(state_dict))
        check_vocabulary(state_dict, "decoder", self.decoder, "target")
        return super().load_state_dict(state_dict, strict, model_cfg, args)


@register_model_architecture("attn_rnn_s2t", "attn_rnn_s2t")
def base_architecture(args) -> None:
    """All defaults are the dataclass's."""
