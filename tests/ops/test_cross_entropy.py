"""The loss in chunks against the specification, fairseq's own, and finite differences."""

import pytest
import torch
from fairseq.criterions.label_smoothed_cross_entropy import label_smoothed_nll_loss

from s2s_plugin.ops import cross_entropy, reference

PAD = 1


@pytest.fixture(params=[1, 3, 100], ids=["row by row", "three rows", "one chunk"])
def small_chunks(request, monkeypatch):
    """Chunks of so many rows."""
    monkeypatch.setattr(cross_entropy, "chunk_rows", lambda weight, dtype: request.param)
    monkeypatch.setattr(cross_entropy, "BLOCK_ROWS", 2)


def make_inputs(with_bias, dtype=torch.float64):
    torch.manual_seed(8)
    features = torch.randn(10, 5, dtype=dtype, requires_grad=True)
    weight = torch.randn(11, 5, dtype=dtype, requires_grad=True)
    bias = torch.randn(11, dtype=dtype, requires_grad=True) if with_bias else None
    return features, weight, bias, torch.tensor([0, PAD, 3, 10, PAD, 5, 5, 2, 9, PAD])


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_gradcheck(with_bias, epsilon, small_chunks, ways):
    features, weight, bias, target = make_inputs(with_bias)

    def loss(features, weight, bias):
        return cross_entropy.label_smoothed_cross_entropy(features, weight, bias, target, epsilon, PAD)[0] * 3

    assert torch.autograd.gradcheck(loss, (features, weight, bias))


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_equals_reference_and_fairseq(with_bias, epsilon, small_chunks, ways):
    features, weight, bias, target = make_inputs(with_bias)
    got = cross_entropy.label_smoothed_cross_entropy(features, weight, bias, target, epsilon, PAD)
    expected = reference.label_smoothed_cross_entropy(features, weight, bias, target, epsilon, PAD)
    lprobs = torch.log_softmax(torch.nn.functional.linear(features, weight, bias), dim=1)
    fairseq = label_smoothed_nll_loss(lprobs, target, epsilon, ignore_index=PAD)
    for a, b, c in zip(got, expected, fairseq, strict=True):
        torch.testing.assert_close(a, b)
        torch.testing.assert_close(a, c)


@pytest.mark.parametrize("scale", [1e2, 1e4])
def test_improbable_words_have_a_finite_loss(scale, ways):
    """The probability of a label underflows in float32, its logarithm does not."""
    features, weight, bias, target = (x.detach().float() if x.is_floating_point() else x for x in make_inputs(True))
    got = cross_entropy.label_smoothed_cross_entropy(features, weight, bias * scale, target, 0.1, PAD)
    expected = reference.label_smoothed_cross_entropy(
        features.double(), weight.double(), bias.double() * scale, target, 0.1, PAD
    )
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-4)


def test_frozen_arguments_get_no_gradient():
    features, weight, bias, target = make_inputs(True)
    weight.requires_grad_(False)
    cross_entropy.label_smoothed_cross_entropy(features, weight, bias, target, 0.1, PAD)[0].backward()
    assert weight.grad is None and features.grad is not None and bias.grad is not None


def test_padding_has_no_gradient_and_no_loss(ways):
    features, weight, bias, target = make_inputs(False)
    target = torch.full_like(target, PAD)
    loss, nll_loss = cross_entropy.label_smoothed_cross_entropy(features, weight, bias, target, 0.1, PAD)
    loss.backward()
    assert loss == 0 and nll_loss == 0 and features.grad.eq(0).all() and weight.grad.eq(0).all()


def test_bfloat16_features_over_float32_weights(small_chunks, ways):
    """Products in bfloat16, sums over rows in float32: gradients of float32 weights keep their dtype."""
    features, weight, bias, target = make_inputs(True, torch.float32)
    exact = cross_entropy.label_smoothed_cross_entropy(features, weight, bias, target, 0.1, PAD)
    exact[0].backward()
    expected = weight.grad.clone()
    weight.grad = None
    rounded = cross_entropy.label_smoothed_cross_entropy(features.bfloat16(), weight, bias, target, 0.1, PAD)
    rounded[0].backward()
    assert rounded[0].dtype == weight.grad.dtype == torch.float32
    torch.testing.assert_close(rounded[0], exact[0], rtol=0.01, atol=0.05)
    torch.testing.assert_close(weight.grad, expected, rtol=0.05, atol=0.05)


def test_a_label_outside_the_vocabulary_is_an_error():
    features, weight, bias, target = make_inputs(True)
    target[0] = 11
    with pytest.raises((IndexError, RuntimeError)):
        cross_entropy.label_smoothed_cross_entropy(features, weight, bias, target, 0.1, PAD)


def test_a_chunk_is_no_smaller_than_the_gradient_that_it_adds_to():
    small, large = torch.empty(6000, 256), torch.empty(32000, 512)
    assert cross_entropy.chunk_rows(small, torch.float32) == cross_entropy.CHUNK_BYTES // (6000 * 4)
    assert cross_entropy.chunk_rows(large, torch.float32) == 512
