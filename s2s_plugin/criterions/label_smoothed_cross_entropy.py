"""fairseq's label-smoothed cross-entropy, computed from the features without holding all logits; and R-Drop."""

import math
from dataclasses import dataclass, field

import torch
from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)
from fairseq.logging import metrics

from ..ops.cross_entropy import label_smoothed_cross_entropy, r_drop_cross_entropy


@dataclass
class AttnLabelSmoothedCrossEntropyConfig(LabelSmoothedCrossEntropyCriterionConfig):
    """Options of fairseq's `label_smoothed_cross_entropy`, and --r-drop-alpha."""

    r_drop_alpha: float = field(
        default=0.0,
        metadata={
            "help": "in training, predict every sentence twice, under two draws of dropout, and add alpha/4 times the "
            "divergence of both predictions in both directions (R-Drop, Liang et al. 2021; there 5 for translation). A "
            "step takes twice the time and memory"
        },
    )


@register_criterion("attn_label_smoothed_cross_entropy", dataclass=AttnLabelSmoothedCrossEntropyConfig)
class AttnLabelSmoothedCrossEntropyCriterion(LabelSmoothedCrossEntropyCriterion):
    """Label-smoothed cross-entropy for `attn_rnn_s2s`: the loss and the log of fairseq's criterion, to rounding.

    Where the caller wants what only whole logits give (--report-accuracy, a loss for every token) it is fairseq's own.
    In training, --r-drop-alpha adds R-Drop, and `r_drop` to the log: the mean of both divergences, in bits a token.

    Raises:
        ValueError: a model that does not give features, or one with an adaptive softmax; a negative --r-drop-alpha, or
            one beside --report-accuracy.
    """

    def __init__(
        self,
        task,
        sentence_avg,
        label_smoothing,
        ignore_prefix_size=0,
        report_accuracy=False,
        r_drop_alpha=0.0,
    ):
        super().__init__(task, sentence_avg, label_smoothing, ignore_prefix_size, report_accuracy)
        if not 0 <= r_drop_alpha < math.inf:
            raise ValueError(f"--r-drop-alpha {r_drop_alpha}: a number of at least 0")
        if r_drop_alpha > 0 and report_accuracy:
            raise ValueError(
                f"--r-drop-alpha {r_drop_alpha} predicts every word twice, of which --report-accuracy cannot count one"
            )
        self.r_drop_alpha = r_drop_alpha

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
        twice = self.r_drop_alpha > 0 and model.training
        net_input = sample["net_input"]
        if twice:
            net_input = {name: torch.cat([value, value]) for name, value in net_input.items()}
        features, _ = model(**net_input, features_only=True)
        features = features[:, self.ignore_prefix_size :]
        target = sample["target"][:, self.ignore_prefix_size :].reshape(-1)
        sample_size = sample["target"].size(0) if self.sentence_avg else sample["ntokens"]
        logging_output = {
            "ntokens": sample["ntokens"],
            "nsentences": sample["target"].size(0),
            "sample_size": sample_size,
        }
        output = decoder.output_weight, decoder.output_bias, target, self.eps, self.padding_idx
        if twice:
            pairs = torch.stack(features.chunk(2), dim=2).flatten(0, 1)
            loss, nll_loss, logging_output["r_drop"] = r_drop_cross_entropy(pairs, *output, self.r_drop_alpha)
        else:
            loss, nll_loss = label_smoothed_cross_entropy(features.flatten(0, 1), *output)
        logging_output.update(loss=loss.detach(), nll_loss=nll_loss)
        return loss, sample_size, logging_output

    @classmethod
    def reduce_metrics(cls, logging_outputs) -> None:
        super().reduce_metrics(logging_outputs)
        if any("r_drop" in log for log in logging_outputs):
            divergence = sum(log.get("r_drop", 0) for log in logging_outputs)
            tokens = sum(log.get("ntokens", 0) for log in logging_outputs)
            metrics.log_scalar("r_drop", divergence / tokens / math.log(2), tokens, round=3)
