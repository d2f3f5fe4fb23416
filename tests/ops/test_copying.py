"""The mixture of the pointer-generator: probabilities and loss against the specification, gradients, hard cases."""

import pytest
import torch

from s2s_plugin.ops import copying, cross_entropy, reference

PAD = 1


def make_inputs(batch, steps, source, vocabulary, dtype, seed=71):
    """Logits, gen_logit, attention that is 0 at padding, and a source with repeated words, padding and the word 2."""
    torch.manual_seed(seed)
    ids = torch.randint(2, min(vocabulary, 6), (batch, source))
    mask = torch.arange(source).expand(batch, source) >= torch.randint(1, source + 1, (batch, 1))
    attn = torch.randn(batch, steps, source, dtype=dtype).masked_fill(mask.unsqueeze(1), -torch.inf).softmax(dim=2)
    logits = torch.randn(batch, steps, vocabulary, dtype=dtype) * 3
    gen_logit = torch.randn(batch, steps, dtype=dtype)
    source = copying.copy_source(ids.masked_fill(mask, PAD))
    return logits.requires_grad_(), gen_logit.requires_grad_(), attn.detach().requires_grad_(), source


def test_the_specification_is_the_papers_mixture():
    logits, gen_logit, attn, source = make_inputs(3, 2, 5, 9, torch.float64)
    lprobs = reference.copy_lprobs(logits, gen_logit, attn, source)
    for b in range(3):
        for t in range(2):
            p_gen = torch.sigmoid(gen_logit[b, t])
            expected = p_gen * torch.softmax(logits[b, t], dim=0)
            for s, word in enumerate(source.ids[b].tolist()):
                expected = expected + (1 - p_gen) * attn[b, t, s] * torch.eye(9, dtype=torch.float64)[word]
            torch.testing.assert_close(lprobs[b, t].exp(), expected)
    torch.testing.assert_close(lprobs.exp().sum(dim=2), torch.ones(3, 2, dtype=torch.float64))


def test_slots_are_first_positions():
    source = copying.copy_source(torch.tensor([[5, 4, 5, 1, 1, 4]]))
    assert source.slots.tolist() == [[0, 1, 0, 3, 3, 1]]
    ids = torch.randint(0, 30, (5, 64))
    for row, slots in zip(ids.tolist(), copying.copy_source(ids).slots.tolist(), strict=True):
        assert slots == [row.index(word) for word in row]


@pytest.mark.parametrize("sizes", [(1, 1, 1, 7), (4, 3, 6, 11)])
def test_probabilities_equal_the_specification(sizes):
    results = []
    for function in (reference.copy_lprobs, copying.copy_lprobs):
        inputs = make_inputs(*sizes, torch.float32)
        lprobs = function(*inputs)
        (lprobs * torch.linspace(-1, 1, lprobs.numel()).view_as(lprobs)).sum().backward()
        results.append((lprobs, *(x.grad for x in inputs[:2]), inputs[2].grad * inputs[2].detach().gt(0)))
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_no_mass_to_copy_and_none_to_generate():
    """Logits so far apart that probabilities underflow, and gates that are shut."""
    logits, gen_logit, attn, source = make_inputs(4, 3, 6, 11, torch.float32)
    with torch.no_grad():
        logits[..., 3] = 400.0
        gen_logit[0], gen_logit[1] = 200.0, -200.0
    lprobs = copying.copy_lprobs(logits, gen_logit, attn, source)
    expected = reference.copy_lprobs(logits.double(), gen_logit.double(), attn.double(), source)
    torch.testing.assert_close(lprobs, expected.float())
    lprobs.sum().backward()
    assert all(x.grad.isfinite().all() for x in (logits, gen_logit, attn))


def loss_inputs(batch, steps, source, vocabulary, width, dtype, has_bias=True):
    _, gen_logit, attn, copy_source = make_inputs(batch, steps, source, vocabulary, dtype)
    features = torch.randn(batch, steps, width, dtype=dtype, requires_grad=True)
    weight = (torch.randn(vocabulary, width, dtype=dtype) * 2).requires_grad_()
    bias = torch.randn(vocabulary, dtype=dtype, requires_grad=True) if has_bias else None
    target = torch.randint(2, vocabulary, (batch, steps))
    target[:, 0] = copy_source.ids[:, 0]  # a word that can be copied
    target[-1, steps // 2 :] = PAD
    return features, weight, bias, target, gen_logit, attn, copy_source


def call(function, inputs, epsilon):
    return function(*inputs[:4], epsilon, PAD, *inputs[4:])


@pytest.mark.parametrize("epsilon", [0.0, 0.2])
def test_gradcheck(epsilon, ways):
    inputs = loss_inputs(3, 4, 5, 9, 2, torch.float64)
    leaves, is_real = [inputs[index] for index in (0, 1, 2, 4, 5)], inputs[5].detach().gt(0)

    def loss(features, weight, bias, gen_logit, attn):
        args = features, weight, bias, inputs[3], gen_logit, attn * is_real, inputs[6]  # no weight at padding
        return call(cross_entropy.copy_cross_entropy, args, epsilon)[0]

    assert torch.autograd.gradcheck(loss, leaves)


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("sizes", [(1, 1, 1, 7, 3), (5, 3, 6, 11, 4)])
def test_loss_equals_the_specification(sizes, has_bias, epsilon, ways, monkeypatch):
    monkeypatch.setattr(cross_entropy, "CHUNK_BYTES", 100)  # several chunks
    monkeypatch.setattr(cross_entropy, "BLOCK_ROWS", 2)
    results = []
    for module in (reference, cross_entropy):
        inputs = loss_inputs(*sizes, torch.float32, has_bias)
        loss, nll_loss = call(module.copy_cross_entropy, inputs, epsilon)
        (loss * 0.5).backward()
        grads = [inputs[index].grad for index in (0, 1, 2, 4) if inputs[index] is not None]
        results.append((loss, nll_loss, *grads, inputs[5].grad * inputs[5].detach().gt(0)))
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_loss_is_that_of_the_probabilities():
    inputs = loss_inputs(3, 4, 5, 9, 2, torch.float64)
    lprobs = copying.copy_lprobs(inputs[0] @ inputs[1].t() + inputs[2], *inputs[4:])
    real = inputs[3].ne(PAD)
    expected = -lprobs[real].gather(1, inputs[3][real].unsqueeze(1)).sum()
    torch.testing.assert_close(call(cross_entropy.copy_cross_entropy, inputs, 0.0)[0], expected)


def test_without_gradients_the_loss_is_the_same():
    inputs = loss_inputs(3, 4, 5, 9, 2, torch.float32)
    expected, _ = call(cross_entropy.copy_cross_entropy, inputs, 0.1)
    with torch.no_grad():
        got, _ = call(cross_entropy.copy_cross_entropy, inputs, 0.1)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("gate", [-100.0, -1e4, 100.0])
def test_the_loss_has_finite_gradients_where_probabilities_underflow(gate, ways):
    inputs = loss_inputs(3, 4, 5, 9, 2, torch.float32)
    with torch.no_grad():
        inputs[4].fill_(gate)
    call(cross_entropy.copy_cross_entropy, inputs, 0.1)[0].backward()
    assert all(inputs[index].grad.isfinite().all() for index in (0, 1, 2, 4, 5))
