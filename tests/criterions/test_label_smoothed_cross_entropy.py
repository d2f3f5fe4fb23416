"""The criterion against fairseq's own: loss, log and gradients."""

import math
from types import SimpleNamespace

import pytest
import torch
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.criterions.label_smoothed_cross_entropy_with_alignment import (
    LabelSmoothedCrossEntropyCriterionWithAlignment,
)
from fairseq.logging import metrics

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
    cfg = SimpleNamespace(load_alignments=True)
    return kind(SimpleNamespace(target_dictionary=make_task().target_dictionary, cfg=cfg), **options)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("model_options", [{}, {"copy_attn": True, "coverage_attn": True}], ids=["plain", "copying"])
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
def test_equals_fairseqs(options, model_options, shared):
    torch.manual_seed(31)
    model = make_model(share_decoder_input_output_embed=shared, **model_options).double()
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


LINKS = torch.tensor([[1, 0], [3, 1], [0, 1], [0, 3]])
"""Target words 0 and 1 of the first sentence, the latter with two links, and word 0 of the second."""
ALIGNED = {**SAMPLE, "alignments": LINKS, "align_weights": torch.tensor([1.0, 0.5, 0.5, 1.0])}


def make_plain(**options):
    options = {"sentence_avg": False, "label_smoothing": 0.1, **options}
    return make_criterion(AttnLabelSmoothedCrossEntropyCriterion, **options)


def test_the_coverage_loss_is_the_papers():
    model = make_model().double()
    attn = model(**SAMPLE["net_input"])[1]["attn"][0].tolist()
    expected = 0.0
    for b, length in enumerate((3, 2)):
        coverage = [0.0] * 4
        for t in range(length):
            expected += sum(min(a, c) for a, c in zip(attn[b][t], coverage, strict=True))
            coverage = [c + a for a, c in zip(attn[b][t], coverage, strict=True)]
    plain, _, _ = make_plain()(model, SAMPLE)
    loss, _, log = make_plain(coverage_lambda=2.0)(model, SAMPLE)
    assert float(log["coverage_loss"]) == pytest.approx(expected)
    assert float(loss) == pytest.approx(float(plain) + 2 * expected)


@pytest.mark.parametrize("kind", ["cross_entropy", "squared_error"])
def test_guided_alignment(kind):
    model = make_model().double()
    attn = model(**SAMPLE["net_input"])[1]["attn"][0]
    gold = torch.zeros(2, 3, 4)
    gold[0, 0, 1] = gold[1, 0, 0] = 1
    gold[0, 1, 3] = gold[0, 1, 0] = 0.5
    of_words = -gold * attn.log().nan_to_num() if kind == "cross_entropy" else (gold - attn) ** 2
    expected = float(of_words.sum(dim=2)[gold.sum(dim=2) > 0].sum())
    plain, _, _ = make_plain()(model, ALIGNED)
    loss, _, log = make_plain(alignment_lambda=0.5, alignment_loss=kind)(model, ALIGNED)
    assert float(loss) == pytest.approx(float(plain) + 0.5 * expected)
    assert float(log["alignment_loss"]) == pytest.approx(expected / (math.log(2) if kind == "cross_entropy" else 1))
    assert log["linked"] == 3
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("kind", ["cross_entropy", "squared_error"])
def test_an_ignored_prefix_counts_nothing(kind):
    """But later words are not to read again what it has read."""
    model = make_model().double()
    attn = model(**SAMPLE["net_input"])[1]["attn"][0]
    coverage = attn.cumsum(dim=1) - attn
    read_again = float(torch.minimum(attn, coverage)[:, 2:].sum(dim=2)[SAMPLE["target"][:, 2:].ne(PAD)].sum())
    assert read_again > 0
    _, _, log = make_plain(coverage_lambda=1.0, ignore_prefix_size=2)(model, SAMPLE)
    assert float(log["coverage_loss"]) == pytest.approx(read_again)
    options = {"alignment_lambda": 1.0, "alignment_loss": kind, "ignore_prefix_size": 1}
    _, _, log = make_plain(**options)(model, ALIGNED)
    second = {"alignments": LINKS[1:3], "align_weights": ALIGNED["align_weights"][1:3]}
    _, _, expected = make_plain(alignment_lambda=1.0, alignment_loss=kind)(model, {**SAMPLE, **second})
    assert float(log["alignment_loss"]) == pytest.approx(float(expected["alignment_loss"]))
    assert log["linked"] == expected["linked"] == 1


def test_guided_alignment_is_that_of_fairseq():
    model = make_model()
    fairseqs = make_criterion(
        LabelSmoothedCrossEntropyCriterionWithAlignment,
        sentence_avg=False,
        label_smoothing=0.1,
        alignment_lambda=0.3,
    )
    expected, _, _ = fairseqs(model, ALIGNED)
    loss, _, _ = make_plain(alignment_lambda=0.3)(model, ALIGNED)
    torch.testing.assert_close(loss, expected.squeeze())


def test_a_batch_without_links_has_no_alignment_loss():
    loss, _, log = make_plain(alignment_lambda=0.3)(make_model(), SAMPLE)
    assert loss.isfinite() and log["alignment_loss"] == log["linked"] == 0  # for all processes to log alike
    AttnLabelSmoothedCrossEntropyCriterion.reduce_metrics([log])


def test_terms_are_logged_by_token_and_by_linked_word():
    log = {"loss": 1.0, "nll_loss": 1.0, "ntokens": 5, "sample_size": 5, "nsentences": 1}
    first = {
        **log,
        "coverage_loss": torch.tensor(2.0),
        "alignment_loss": torch.tensor(3.0),
        "linked": torch.tensor(2.0),
    }
    with metrics.aggregate(new_root=True) as recorded:
        AttnLabelSmoothedCrossEntropyCriterion.reduce_metrics([first, {**log, "coverage_loss": torch.tensor(1.0)}])
    assert float(recorded["coverage_loss"].avg) == pytest.approx(0.3)
    assert float(recorded["alignment_loss"].avg) == pytest.approx(1.5)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"coverage_lambda": -1.0}, "--coverage-lambda -1.0: a number of at least 0"),
        ({"alignment_lambda": float("nan")}, "--alignment-lambda nan: a number of at least 0"),
        ({"coverage_lambda": 1.0, "report_accuracy": True}, "--coverage-lambda 1.0 cannot be had with --report-acc"),
    ],
)
def test_terms_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make_plain(**options)


def test_terms_that_the_model_has_no_place_for_are_refused():
    without = make_model(decoder_attention="0", attn_dim=None)
    with pytest.raises(ValueError, match="--coverage-lambda 1.0 can mean nothing with --decoder-attention 0"):
        make_plain(coverage_lambda=1.0)(without, SAMPLE)


@pytest.mark.parametrize("term", ["coverage_lambda", "alignment_lambda"])
def test_terms_have_no_loss_for_every_token(term):
    with pytest.raises(ValueError, match=f"--{term.replace('_', '-')} 1.0: there is no loss for every token"):
        make_plain(**{term: 1.0})(make_model(), ALIGNED, reduce=False)


def test_guided_alignment_without_links_to_load_is_refused():
    task = SimpleNamespace(target_dictionary=make_task().target_dictionary, cfg=SimpleNamespace(load_alignments=False))
    with pytest.raises(ValueError, match="--alignment-lambda 0.1 goes with --task attn_translation --load-alignments"):
        AttnLabelSmoothedCrossEntropyCriterion(task, False, 0.1, alignment_lambda=0.1)
