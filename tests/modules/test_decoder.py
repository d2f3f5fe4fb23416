"""The decoder: steps equal teacher forcing, whatever the cell, the depth and the bridge."""

import pytest
import torch

from s2s_plugin.modules.attention import AdditiveAttention
from s2s_plugin.modules.bridge import BRIDGES, Bridge
from s2s_plugin.modules.cells import CellKind
from s2s_plugin.modules.decoder import RNNDecoder
from s2s_plugin.modules.encoder import EncoderState
from s2s_plugin.modules.first_layer import FIRST_LAYERS, check_first_layer
from s2s_plugin.modules.readout import READOUTS, Readout
from s2s_plugin.modules.rnn import build_rnn
from s2s_plugin.ops.history import Past
from s2s_plugin.ops.reference import GATES

MEMORY, EMBED, HIDDEN = 6, 4, 5


def make_decoder(
    cell="lstm", attention="recurrent", num_layers=2, bridge="last", readout="tanh", kind=None, attn=None, dropout=0.0,
    feeds_context=True, **options,
):  # fmt: skip
    torch.manual_seed(12)
    check_first_layer(attention)
    kind = CellKind(cell, **(kind or {}))
    attn_module = None
    if attention != "none":
        attn_module = AdditiveAttention(query_size=HIDDEN, memory_size=MEMORY, **{"attn_dim": 6, **(attn or {})})
    first_layer = FIRST_LAYERS[attention](
        kind=kind, input_size=EMBED, hidden_size=HIDDEN, memory_size=MEMORY, attention=attn_module
    )
    width = HIDDEN + (first_layer.context_size if feeds_context else 0)
    decoder = RNNDecoder(
        bridge=Bridge(
            kind=bridge, memory_size=MEMORY, hidden_size=HIDDEN, num_layers=num_layers, has_cell=kind.has_cell
        ),
        first_layer=first_layer,
        upper_layers=[build_rnn(kind, width, HIDDEN) for _ in range(num_layers - 1)],
        readout=Readout(kind=readout, input_size=HIDDEN + first_layer.context_size + EMBED, output_size=3),
        dropout=dropout,
        readout_dropout=dropout,
        feeds_context=feeds_context,
        **options,
    )
    return decoder.double().eval()


VARIANTS = {
    "norms": {"kind": {"layer_norm": True}},
    "deep transition": {"kind": {"transitions": 3}},
    "heads": {"attn": {"heads": 3}},
    "normed energies": {"attn": {"energy": "normed", "heads": 2}},
    "coverage and location": {"attn": {"coverage": True, "location_filters": 2, "location_width": 3}},
    "residual": {"residual": True, "num_layers": 3},
    "context for the first layer alone": {"feeds_context": False},
    **{f"{readout} readout": {"readout": readout} for readout in READOUTS},
}
"""Changes to the arguments of `make_decoder`."""


def make_encoder_state(lengths=(4, 2, 1)):
    torch.manual_seed(13)
    mask = torch.arange(max(lengths)) >= torch.tensor(lengths).unsqueeze(1)
    memory = torch.randn(len(lengths), max(lengths), MEMORY, dtype=torch.float64).masked_fill(mask.unsqueeze(2), 0.0)
    return EncoderState(memory, mask, torch.randn(len(lengths), MEMORY, dtype=torch.float64))


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize(
    "bridge, attention", [(b, a) for b in BRIDGES for a in FIRST_LAYERS if (b, a) != ("zero", "none")]
)
def test_steps_equal_teacher_forcing(cell, num_layers, bridge, attention):
    check_steps(make_decoder(cell=cell, bridge=bridge, num_layers=num_layers, attention=attention), attention)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("attention", ["recurrent", "conditional", "parallel"])
def test_steps_equal_teacher_forcing_with_every_option(cell, attention, variant):
    check_steps(make_decoder(cell=cell, attention=attention, **VARIANTS[variant]), attention)


def check_steps(decoder, attention):
    encoder = make_encoder_state()
    x = torch.randn(3, 5, 4, dtype=torch.float64)
    whole = decoder(x, encoder, decoder.start(encoder))
    state = decoder.start(encoder)
    for t in range(5):
        step = decoder(x[:, t : t + 1], encoder, state)
        state = step.state
        torch.testing.assert_close(step.features[:, 0], whole.features[:, t])
        if attention != "none":
            torch.testing.assert_close(step.attn[:, 0], whole.attn[:, t])
    for a, b in zip(state, whole.state, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("attention", ["recurrent", "conditional", "parallel"])
def test_padding_of_the_memory_changes_nothing(attention):
    decoder = make_decoder(bridge="mean", attention=attention)
    encoder = make_encoder_state((2, 2))
    longer = EncoderState(
        torch.nn.functional.pad(encoder.memory, (0, 0, 3, 1)),
        torch.nn.functional.pad(encoder.padding_mask, (3, 1), value=True),
        encoder.last,
    )
    x = torch.randn(2, 5, 4, dtype=torch.float64)
    a, b = (decoder(x, e, decoder.start(e)) for e in (encoder, longer))
    torch.testing.assert_close(a.features, b.features)
    torch.testing.assert_close(a.attn, b.attn[:, :, 3:5])


def test_mean_bridge_takes_real_positions_only():
    bridge = Bridge(kind="mean", memory_size=MEMORY, hidden_size=5, num_layers=1, has_cell=False).double()
    encoder = make_encoder_state((4, 2, 1))
    hidden, _ = bridge(encoder)
    for row, length in enumerate((4, 2, 1)):
        expected = torch.tanh(bridge.hidden_proj(encoder.memory[row, :length].mean(dim=0)))
        torch.testing.assert_close(hidden[0, row], expected)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"cell": "sru"}, "unknown cell 'sru': choose from tanh, gru, lstm"),
        ({"bridge": "sum"}, "unknown bridge 'sum': choose from zero, last, mean"),
        ({"attention": "none", "bridge": "zero"}, "sees nothing of the source"),
        ({"attention": "dot"}, "unknown attention 'dot': choose from recurrent, conditional, parallel, none"),
        ({"attn": {"attn_dim": 0}}, "attn_dim must be a positive whole number, not 0"),
        ({"attn": {"heads": 4}}, "attn_dim 6 cannot be shared out between 4 heads"),
        ({"attn": {"energy": "dot"}}, "unknown attention energy 'dot': choose from additive, normed"),
        ({"attn": {"location_filters": 2, "location_width": 4}}, "location_width 4 has no middle: it must be odd"),
        ({"attn": {"dropout": 1.0}}, "dropout must be at least 0 and below 1, not 1.0"),
        ({"readout": "relu"}, "unknown readout 'relu': choose from linear, tanh, maxout"),
        ({"residual": True, "num_layers": 1}, "residual connections are between layers, but the decoder has one"),
        ({"kind": {"transitions": 0}}, "transitions must be a positive whole number, not 0"),
        ({"kind": {"hidden_init": "zero"}}, "unknown initialisation 'zero': choose from uniform, orthogonal"),
        ({"kind": {"forget_bias": 1.0}, "cell": "gru"}, "forget_bias 1.0 is for lstm: a gru has no forget gate"),
        ({"dropout": -0.1}, "dropout must be at least 0 and below 1, not -0.1"),
    ],
)
def test_bad_values_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        make_decoder(**change)


def test_a_residual_connection_adds_the_state_below():
    decoder = make_decoder(num_layers=2, residual=True)
    plain = make_decoder(num_layers=2)
    plain.load_state_dict(decoder.state_dict())
    encoder, x = make_encoder_state(), torch.randn(3, 5, EMBED, dtype=torch.float64)
    inputs = []
    for each in (decoder, plain):
        each.readout.register_forward_pre_hook(lambda _, parts: inputs.append(parts[0]))
        each(x, encoder, each.start(encoder))
    below = decoder.first_layer(
        x.transpose(0, 1), decoder.first_layer.attention(encoder.memory, encoder.padding_mask),
        *(state[0] for state in decoder.bridge(encoder)), Past(None, None),
    ).output  # fmt: skip
    torch.testing.assert_close(inputs[0], inputs[1] + below)


def test_normed_energies_do_not_depend_on_the_length_of_v():
    attention = AdditiveAttention(query_size=5, memory_size=6, attn_dim=6, energy="normed", heads=2)
    assert attention.v.view(2, 3).norm(dim=1).tolist() == pytest.approx([(2 / 6) ** 0.5] * 2)
    before = attention.v.detach()
    attention.energy_proj.weight.data.mul_(3.0)
    torch.testing.assert_close(attention.v, before)
    attention.length.data.mul_(2.0)
    torch.testing.assert_close(attention.v, 2 * before)


def test_maxout_takes_the_larger_of_two_neighbours():
    readout = Readout(kind="maxout", input_size=3, output_size=4)
    x = torch.randn(2, 3)
    pairs = (x @ readout.proj.weight.t() + readout.proj.bias).view(2, 4, 2)
    torch.testing.assert_close(readout(x), torch.maximum(pairs[:, :, 0], pairs[:, :, 1]))


def test_attention_dropout_is_for_training():
    decoder = make_decoder(attn={"dropout": 0.5})
    encoder, x = make_encoder_state(), torch.randn(3, 5, EMBED, dtype=torch.float64)
    quiet = [decoder(x, encoder, decoder.start(encoder)).features for _ in range(2)]
    torch.testing.assert_close(*quiet, rtol=0, atol=0)
    decoder.train()
    loud = [decoder(x, encoder, decoder.start(encoder)) for _ in range(2)]
    assert loud[0].features.ne(loud[1].features).any()
    torch.testing.assert_close(loud[0].attn.sum(dim=2), torch.ones(3, 5, dtype=torch.float64))
