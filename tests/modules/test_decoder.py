"""The decoder: steps equal teacher forcing, whatever the cell, the depth and the bridge."""

import pytest
import torch

from s2s_plugin.modules.bridge import BRIDGES, Bridge
from s2s_plugin.modules.decoder import RNNDecoder
from s2s_plugin.modules.encoder import EncoderState
from s2s_plugin.modules.first_layer import FIRST_LAYERS
from s2s_plugin.ops.reference import GATES

MEMORY = 6


def make_decoder(**changes):
    torch.manual_seed(12)
    options = dict(
        cell="lstm", attention="recurrent", embed_dim=4, hidden_size=5, num_layers=2, memory_size=MEMORY, output_size=3,
        attn_dim=7, bridge="last", dropout=0.0,
    )  # fmt: skip
    return RNNDecoder(**{**options, **changes}).double().eval()


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
    decoder = make_decoder(cell=cell, bridge=bridge, num_layers=num_layers, attention=attention)
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


@pytest.mark.parametrize("attention", ["recurrent", "parallel"])
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
        ({"attention": "dot"}, "unknown attention 'dot': choose from recurrent, parallel, none"),
        ({"attn_dim": 0}, "attn_dim must be a positive whole number, not 0"),
        ({"dropout": -0.1}, "dropout must be at least 0 and below 1, not -0.1"),
    ],
)
def test_bad_values_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        make_decoder(**change)
