"""fairseq's label-smoothed cross-entropy, computed from the features without holding all logits, and what is added to
it: coverage and guided alignment train the attention, CTC an encoder of speech."""

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)
from fairseq.dataclass import ChoiceEnum
from fairseq.logging import metrics

from ..ops.attention_losses import ALIGNMENT_LOSSES, alignment_loss, coverage_loss
from ..ops.cross_entropy import copy_cross_entropy, label_smoothed_cross_entropy


@dataclass
class AttnLabelSmoothedCrossEntropyConfig(LabelSmoothedCrossEntropyCriterionConfig):
    """Options of fairseq's `label_smoothed_cross_entropy`, and those of the terms that are added to it."""

    coverage_lambda: float = field(
        default=0.0,
        metadata={
            "help": "weight of the coverage loss, which lets no source position be read again (See et al. 2017, "
            "eq. 12; there 1, at the end of training); goes well with --coverage-attn of the model"
        },
    )
    alignment_lambda: float = field(
        default=0.0,
        metadata={
            "help": "weight of guided alignment: attention is to follow the links that fairseq-preprocess "
            "--align-suffix has made; goes with --load-alignments of the task. 0.05 to 1 are usual"
        },
    )
    alignment_loss: ChoiceEnum(list(ALIGNMENT_LOSSES)) = field(
        default="cross_entropy", metadata={"help": "how the distance from the links is measured"}
    )
    ctc_weight: float = field(
        default=0.0,
        metadata={
            "help": "share of the CTC loss of the encoder's own output in the loss, below 1 (Watanabe et al. 2017, eq. "
            "18; 0.2 there); goes with --encoder-ctc of attn_rnn_s2t"
        },
    )


@register_criterion("attn_label_smoothed_cross_entropy", dataclass=AttnLabelSmoothedCrossEntropyConfig)
class AttnLabelSmoothedCrossEntropyCriterion(LabelSmoothedCrossEntropyCriterion):
    """Label-smoothed cross-entropy for `attn_rnn_s2s`: the loss and the log of fairseq's criterion, to rounding.

    Where the caller wants what only whole logits give (--report-accuracy, a loss for every token) it is fairseq's own.
    What is added to the loss is logged by itself:

        coverage_loss:   the attention that was there before, of 1, a token.
        alignment_loss:  a linked target word; in bits for `cross_entropy`.
        ctc_loss:        in bits a token.

    Raises:
        ValueError: a model that does not give features, or one with an adaptive softmax; a weight below 0; one beside
            --report-accuracy or where `reduce` is False; --alignment-lambda without links; a weight for a model without
            attention; one of --ctc-weight and the model's CTC output without the other.
    """

    def __init__(
        self,
        task,
        sentence_avg,
        label_smoothing,
        ignore_prefix_size=0,
        report_accuracy=False,
        coverage_lambda=0.0,
        alignment_lambda=0.0,
        alignment_loss="cross_entropy",
        ctc_weight=0.0,
    ):
        super().__init__(task, sentence_avg, label_smoothing, ignore_prefix_size, report_accuracy)
        weights = {
            "--coverage-lambda": coverage_lambda,
            "--alignment-lambda": alignment_lambda,
            "--ctc-weight": ctc_weight,
        }
        self.terms = [f"{name} {weight}" for name, weight in weights.items() if weight]
        for name, weight in weights.items():
            if not 0 <= weight < math.inf:
                raise ValueError(f"{name} {weight}: a number of at least 0")
        if ctc_weight >= 1:
            raise ValueError(f"--ctc-weight {ctc_weight}: a share of the loss, below 1")
        if self.terms and report_accuracy:
            raise ValueError(f"{' and '.join(self.terms)} cannot be had with --report-accuracy")
        if alignment_lambda and not getattr(getattr(task, "cfg", None), "load_alignments", False):
            raise ValueError(
                f"--alignment-lambda {alignment_lambda} goes with --task attn_translation --load-alignments, and data "
                f"from fairseq-preprocess --align-suffix"
            )
        self.coverage_lambda, self.alignment_lambda, self.ctc_weight = weights.values()
        self.eos_idx = task.target_dictionary.eos()
        self.blank_idx = task.target_dictionary.bos()  # which stands for the blank
        self.alignment_kind = str(alignment_loss)

    def forward(self, model, sample, reduce=True):
        decoder = getattr(model, "decoder", None)
        if not hasattr(decoder, "output_weight"):
            raise ValueError(
                "--criterion attn_label_smoothed_cross_entropy goes with --arch attn_rnn_s2s and attn_rnn_s2t; "
                "for another architecture use label_smoothed_cross_entropy"
            )
        if decoder.adaptive_softmax is not None:
            raise ValueError("--adaptive-softmax-cutoff goes with --criterion adaptive_loss")
        has_ctc = getattr(getattr(model, "encoder", None), "ctc_proj", None) is not None
        if bool(self.ctc_weight) != has_ctc:
            raise ValueError(f"--ctc-weight {self.ctc_weight} and --encoder-ctc of the model go together, or neither")
        if self.terms and not reduce:
            raise ValueError(f"{' and '.join(self.terms)}: there is no loss for every token, only the sum")
        if self.report_accuracy or not reduce:
            return super().forward(model, sample, reduce)
        features, extra = model(**sample["net_input"], features_only=True)
        sample_size = sample["target"].size(0) if self.sentence_avg else sample["ntokens"]
        logging_output = {
            "ntokens": sample["ntokens"],
            "nsentences": sample["target"].size(0),
            "sample_size": sample_size,
        }
        loss, logging_output["nll_loss"] = self.word_loss(decoder, features, extra, sample["target"])
        if self.coverage_lambda or self.alignment_lambda:
            loss = loss + self.attention_terms(extra["attn"], sample, logging_output)
        if self.ctc_weight:
            loss = self.add_ctc(loss, *extra["ctc"], sample["target"][:, self.ignore_prefix_size :], logging_output)
        logging_output["loss"] = loss.detach()
        return loss, sample_size, logging_output

    def word_loss(self, decoder, features, extra, target):
        """Loss and nll_loss. Args: features (B, T, D), extra as the model gives it, target (B, T)."""
        skip = self.ignore_prefix_size
        features, target = features[:, skip:], target[:, skip:]
        output = decoder.output_weight, decoder.output_bias
        if "copying" in extra:
            gen_logit, source = extra["copying"]
            copying = gen_logit[:, skip:], extra["attn"][0][:, skip:], source
            return copy_cross_entropy(features, *output, target, self.eps, self.padding_idx, *copying)
        rows, target = features.flatten(0, 1), target.reshape(-1)
        return label_smoothed_cross_entropy(rows, *output, target, self.eps, self.padding_idx)

    def attention_terms(self, attn, sample, logging_output):
        """The weighted sum of what trains attn, [(B, T, S)] or None, logged part by part.

        An ignored prefix counts nothing here either, but what it attends to has been read.
        """
        if attn is None:
            raise ValueError(f"{' and '.join(self.terms)} can mean nothing with --decoder-attention 0")
        (attn,) = attn
        total = attn.new_zeros(())
        is_predicted = torch.arange(attn.size(1), device=attn.device) >= self.ignore_prefix_size
        if self.coverage_lambda:
            part = coverage_loss(attn, sample["target"].ne(self.padding_idx) & is_predicted)
            logging_output["coverage_loss"] = part.detach()
            total = total + self.coverage_lambda * part
        if self.alignment_lambda:
            # Logged without links too: all processes have to sum the same entries.
            logging_output.update(alignment_loss=attn.new_zeros(()), linked=attn.new_zeros(()))
        if self.alignment_lambda and sample.get("alignments") is not None:
            links = sample["alignments"]
            weights = sample["align_weights"] * is_predicted[links[:, 1] % attn.size(1)]
            part = alignment_loss(attn, links, weights, self.alignment_kind)
            unit = math.log(2) if self.alignment_kind == "cross_entropy" else 1.0
            logging_output.update(alignment_loss=part.detach() / unit, linked=weights.sum())
            total = total + self.alignment_lambda * part
        return total

    def add_ctc(self, loss, lprobs, steps, target, logging_output):
        """(1 - weight) loss + weight CTC (Graves et al. 2006; Watanabe et al. 2017, eq. 18), the latter logged.

        Args:
            lprobs: (B, S, V).   steps: (B,), real ones of the encoder.   target: (B, T), without an ignored prefix.
        """
        labels = (target.ne(self.padding_idx) & target.ne(self.eos_idx)).sum(dim=1)  # the end is none
        part = F.ctc_loss(
            lprobs.transpose(0, 1), target, steps, labels, blank=self.blank_idx, reduction="sum", zero_infinity=True
        )
        logging_output["ctc_loss"] = part.detach() / math.log(2)
        return (1 - self.ctc_weight) * loss + self.ctc_weight * part

    @classmethod
    def reduce_metrics(cls, logging_outputs) -> None:
        super().reduce_metrics(logging_outputs)
        for name, count in (("coverage_loss", "ntokens"), ("alignment_loss", "linked"), ("ctc_loss", "ntokens")):
            if any(name in log for log in logging_outputs):
                total = sum(log.get(name, 0) for log in logging_outputs)
                number = sum(log.get(count, 0) for log in logging_outputs)
                if number > 0:
                    metrics.log_scalar(name, total / number, number, round=3)
