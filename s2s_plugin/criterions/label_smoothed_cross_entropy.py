"""fairseq's label-smoothed cross-entropy, computed from the features without holding all logits."""

from dataclasses import dataclass

from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)

from ..ops.cross_entropy import label_smoothed_cross_entropy


@dataclass
class AttnLabelSmoothedCrossEntropyConfig(LabelSmoothedCrossEntropyCriterionConfig):
    """Options of fairseq's `label_smoothed_cross_entropy`."""


@register_criterion("attn_label_smoothed_cross_entropy", dataclass=AttnLabelSmoothedCrossEntropyConfig)
class AttnLabelSmoothedCrossEntropyCriterion(LabelSmoothedCrossEntropyCriterion):
    """Label-smoothed cross-entropy for `attn_rnn_s2s`: the loss and the log of fairseq's criterion, to rounding.

    Where the caller wants what only whole logits give (--report-accuracy, a loss for every token) it is fairseq's own.

    Raises:
        ValueError: a model that does not give features, or one with an adaptive softmax.
    """

    def forward(self, model, sample, reduce=True):
        decoder = getattr(model, "decoder", None)
        if not hasattr(decoder, "output_weight"):
            raise ValueError(
                "--criterion attn_label_smoothed_cross_entropy goes with --arch attn_rnn_s2s; "
                "for another architecture use label_smoothed_cross_entropy"
            )
        if decoder.adaptive_softmax is not None:
            raise ValueError("--adaptive-softmax-cutoff goes with --criterion adaptive_loss")
        if self.report_accuracy or not reduce:
            return super().forward(model, sample, reduce)
        features, _ = model(**sample["net_input"], features_only=True)
        skip = self.ignore_prefix_size
        target = sample["target"][:, skip:].reshape(-1)
        loss, nll_loss = label_smoothed_cross_entropy(
            features[:, skip:].flatten(0, 1),
            decoder.output_weight,
            decoder.output_bias,
            target,
            self.eps,
            self.padding_idx,
        )
        sample_size = sample["target"].size(0) if self.sentence_avg else sample["ntokens"]
        logging_output = {
            "loss": loss.detach(),
            "nll_loss": nll_loss,
            "ntokens": sample["ntokens"],
            "nsentences": sample["target"].size(0),
            "sample_size": sample_size,
        }
        return loss, sample_size, logging_output
