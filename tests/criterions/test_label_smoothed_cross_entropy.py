"""The criterion against fairseq's own: loss, log and gradients."""

from types import SimpleNamespace

import pytest
import torch
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion

from s2s_plugin.criterions.label_smoothed_cross_entropy import AttnLabelSmoothedCrossEntropyCriterion
from tests.models.builders import make_model, make_task

PAD, EOS = 1, 2
SAMPLE = {
    "net_input": {
        "src_tokens": torch.tensor([[4, 9, 5, EOS], [6, EOS, PAD, PAD]]),
        "src_lengths": torch.tensor([4, 2]),
        "prev_output_tokens": torch.tensor([[EOS, 8, 4], [EOS, 12, PAD]]),
    },
    "target": torch.tensor([[8, 4, EOS], [12, EOS, PAD]]),
    "ntokens": 5,
}


def make_criterion(kind, **options):
    return kind(SimpleNamespace(target_dictionary=make_task().target_dictionary), **options)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {"sentence_avg": False, "label_smoothing": 0.1},
        {"sentence_avg": True, "label_smoothing": 0.0},
        {"sentence_avg": False, "label_smoothing": 0.2, "ignore_prefix_size": 1},
        {"sentence_avg": False, "label_smoothing": 0.1, "ignore_prefix_size": 3},  # as long as the targets
        {"sentence_avg": False, "label_smoothing": 0.1, "report_accuracy": True},
    ],
)
def test_equals_fairseqs(options, shared):
    torch.manual_seed(31)
    model = make_model(share_decoder_input_output_embed=shared).double()
    results = []
    for kind in (LabelSmoothedCrossEntropyCriterion, AttnLabelSmoothedCrossEntropyCriterion):
        model.zero_grad()
        loss, sample_size, log = make_criterion(kind, **options)(model, SAMPLE)
        loss.backward()
        grads = {name: p.grad.clone() for name, p in model.named_parameters()}
        results.append((loss, sample_size, {key: float(value) for key, value in log.items()}, grads))
    expected, got = results
    # fairseq takes the log-softmax in float32.
    torch.testing.assert_close(got[0], expected[0], check_dtype=False, rtol=1e-6, atol=1e-6)
    assert got[1] == expected[1]
    assert got[2] == pytest.approx(expected[2], rel=1e-6)
    for name, grad in expected[3].items():
        torch.testing.assert_close(got[3][name], grad, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


def test_without_reduction_there_is_a_loss_for_every_token():
    criterion = make_criterion(AttnLabelSmoothedCrossEntropyCriterion, sentence_avg=False, label_smoothing=0.1)
    loss, _, _ = criterion(make_model(), SAMPLE, reduce=False)
    assert loss.numel() == SAMPLE["target"].numel()


def test_other_models_are_refused():
    criterion = make_criterion(AttnLabelSmoothedCrossEntropyCriterion, sentence_avg=False, label_smoothing=0.1)
    with pytest.raises(ValueError, match="goes with --arch attn_rnn_s2s"):
        criterion(torch.nn.Linear(2, 2), SAMPLE)
    with pytest.raises(ValueError, match="--adaptive-softmax-cutoff goes with --criterion adaptive_loss"):
        criterion(make_model(adaptive_softmax_cutoff="5,8"), SAMPLE)
