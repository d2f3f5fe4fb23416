"""The Elman preset against the textbook equations in NumPy, which share no code with the package.

energy[t, s]  = v . tanh(W_q h[t-1] + W_k memory[s] + b)       attn[t] = softmax_s(energy[t])
context[t]    = sum_s attn[t, s] memory[s]
h[t]          = tanh(W_x y[t-1] + W_h h[t-1] + W_c context[t] + b_h)
"""

from argparse import Namespace

import numpy
import torch
from fairseq.models import ARCH_CONFIG_REGISTRY

from s2s_plugin.models.attn_rnn_s2s import AttnRNNS2SModel
from tests.models.builders import SMALL, make_task

PAD, EOS = 1, 2


def elman(inputs, w_x, w_h, b, h):
    """All states of h[t] = tanh(W_x x[t] + W_h h[t-1] + b)."""
    states = []
    for x in inputs:
        h = numpy.tanh(w_x @ x + w_h @ h + b)
        states.append(h)
    return states


def textbook(weights, source, target_in):
    """Log-probabilities (T, V) and attention (T, S) of one sentence, without any padding."""
    w = {name: value.double().numpy() for name, value in weights.items()}
    words = w["encoder.embed_tokens.weight"][source]
    sides = {}
    for side in ("forward", "backward"):
        p = f"encoder.encoder.{side}_layers.0."
        b = w[p + "bias_ih_l0"] + w[p + "bias_hh_l0"]
        order = words if side == "forward" else words[::-1]
        sides[side] = elman(order, w[p + "weight_ih_l0"], w[p + "weight_hh_l0"], b, numpy.zeros(len(b)))
    last = numpy.concatenate([sides["forward"][-1], sides["backward"][-1]])
    memory = [numpy.concatenate(pair) for pair in zip(sides["forward"], sides["backward"][::-1], strict=True)]

    d = "decoder.decoder."
    f = d + "first_layer."
    h = numpy.tanh(w[d + "bridge.hidden_proj.weight"] @ last + w[d + "bridge.hidden_proj.bias"])
    b_h = w[f + "input_proj.bias"] + w[f + "cells.0.hidden_proj.bias"]
    v = w[f + "attention.energy_proj.weight"][0]
    rows, attns = [], []
    for word in target_in:
        y = w["decoder.embed_tokens.weight"][word]
        query = w[f + "attention.query_proj.weight"] @ h
        energy = []
        for m in memory:
            key = w[f + "attention.key_proj.weight"] @ m + w[f + "attention.key_proj.bias"]
            energy.append(v @ numpy.tanh(query + key))
        attn = numpy.exp(energy) / numpy.exp(energy).sum()
        context = sum(a * m for a, m in zip(attn, memory, strict=True))
        h = numpy.tanh(
            w[f + "input_proj.weight"] @ y
            + w[f + "cells.0.hidden_proj.weight"] @ h
            + w[f + "context_proj.weight"] @ context
            + b_h
        )
        readout = w[d + "readout.proj.weight"] @ numpy.concatenate([h, context, y]) + w[d + "readout.proj.bias"]
        logits = w["decoder.output_projection.weight"] @ numpy.tanh(readout) + w["decoder.output_projection.bias"]
        rows.append(logits - numpy.log(numpy.exp(logits).sum()))
        attns.append(attn)
    return numpy.array(rows), numpy.array(attns)


def test_the_preset_is_the_textbook():
    torch.manual_seed(21)
    args = Namespace(**SMALL)
    ARCH_CONFIG_REGISTRY["attn_rnn_s2s_vanilla"](args)
    model = AttnRNNS2SModel.build_model(args, make_task()).double().eval()
    assert not any("gate" in name or "cell_" in name for name, _ in model.named_parameters())
    for parameter in model.parameters():
        parameter.data.mul_(8)  # far from where tanh is a straight line
    sources = [[4, 9, 5, 7, EOS], [6, EOS]]
    targets = [[EOS, 8, 4, 5], [EOS, 12, 12, 6]]
    src_tokens = torch.tensor([sources[0], sources[1] + [PAD] * 3])
    logits, extra = model(src_tokens, None, torch.tensor(targets))
    lprobs = model.get_normalized_probs((logits, extra), log_probs=True).double()
    for row, (source, target) in enumerate(zip(sources, targets, strict=True)):
        expected, expected_attn = textbook(model.state_dict(), source, target)
        attn = extra["attn"][0][row].detach().numpy()
        # fairseq takes the log-softmax in float32.
        numpy.testing.assert_allclose(lprobs[row].detach().numpy(), expected, rtol=1e-5, atol=1e-5)
        numpy.testing.assert_allclose(attn[:, : len(source)], expected_attn, rtol=1e-9, atol=1e-12)
        assert (attn[:, len(source) :] == 0).all()
