"""The criterion against fairseq's own: loss, log and gradients."""

from types import SimpleNamespace

import pytest
import torch
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.logging import metrics

from s2s_plugin.criterions.label_smoothed_cross_entropy import AttnLabelSmoothedCrossEntropyCriterion
from s2s_plugin.ops import reference
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


def make_r_drop(alpha, **options):
    options = {"sentence_avg": False, "label_smoothing": 0.1, **options}
    return make_criterion(AttnLabelSmoothedCrossEntropyCriterion, r_drop_alpha=alpha, **options)


@pytest.mark.parametrize("skip", [0, 1])
def test_r_drop_predicts_each_sentence_twice(skip):
    torch.manual_seed(32)
    model = make_model(dropout=0.3).double().train()
    torch.manual_seed(33)
    loss, sample_size, log = make_r_drop(5.0, ignore_prefix_size=skip)(model, SAMPLE)
    torch.manual_seed(33)
    twice = {name: torch.cat([value, value]) for name, value in SAMPLE["net_input"].items()}
    features = model(**twice, features_only=True)[0][:, skip:]
    first, second = features.reshape(2, -1, features.size(2))
    assert not torch.equal(first, second)
    target = SAMPLE["target"][:, skip:].reshape(-1)
    decoder = model.decoder
    expected = reference.r_drop_cross_entropy(
        torch.stack([first, second], dim=1), decoder.output_weight, decoder.output_bias, target, 0.1, PAD, 5.0
    )
    torch.testing.assert_close((loss, log["nll_loss"], log["r_drop"]), expected)
    assert sample_size == log["ntokens"] == SAMPLE["ntokens"] and log["nsentences"] == 2


def test_r_drop_is_for_training_alone():
    model = make_model(dropout=0.3).eval()
    loss, _, log = make_r_drop(5.0)(model, SAMPLE)
    expected, _, _ = make_r_drop(0.0)(model, SAMPLE)
    torch.testing.assert_close(loss, expected)
    assert "r_drop" not in log


def test_r_drop_is_logged_in_bits_a_token():
    log = {"loss": 1.0, "nll_loss": 1.0, "ntokens": 5, "sample_size": 5, "nsentences": 1, "r_drop": torch.tensor(10.0)}
    with metrics.aggregate(new_root=True) as recorded:
        AttnLabelSmoothedCrossEntropyCriterion.reduce_metrics([log, {**log, "ntokens": 3, "r_drop": torch.tensor(6.0)}])
    assert float(recorded["r_drop"].avg) == pytest.approx(2 / 0.6931, rel=1e-3)


@pytest.mark.parametrize("alpha", [-1.0, float("nan"), float("inf")])
def test_an_impossible_weight_of_r_drop_is_refused(alpha):
    with pytest.raises(ValueError, match="--r-drop-alpha"):
        make_r_drop(alpha)


def test_r_drop_refuses_accuracy():
    with pytest.raises(ValueError, match="--r-drop-alpha 5.0 .* --report-accuracy"):
        make_r_drop(5.0, report_accuracy=True)
