"""The encoder of speech: exact lengths, no padding in any state, pairs as the paper puts them together."""

import pytest
import torch

from s2s_plugin.modules.cells import CellKind
from s2s_plugin.modules.speech_encoder import SpeechEncoder
from s2s_plugin.modules.speech_frontend import ConvolutionalFrontEnd, halve, merge_pairs, padding_mask_of

FEATURES = 7


def make_encoder(channels=(3, 2), layers=3, halvings=2, bidirectional=True, cell="gru", **options):
    torch.manual_seed(51)
    front_end = ConvolutionalFrontEnd(input_size=FEATURES, channels=list(channels))
    options = {"dropout_in": 0.0, "dropout": 0.0, **options}
    encoder = SpeechEncoder(
        front_end=front_end, kind=CellKind(cell), hidden_size=4, num_layers=layers, halvings=halvings,
        bidirectional=bidirectional, **options,
    )  # fmt: skip
    return encoder.double().eval()


SHAPES = {
    "convolutions and a pyramid": {},
    "convolutions alone": {"halvings": 0, "layers": 1},
    "a pyramid alone": {"channels": (), "halvings": 2},
    "neither": {"channels": (), "halvings": 0, "layers": 2},
    "one direction, lstm": {"bidirectional": False, "cell": "lstm"},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_recording_alone_equals_itself_in_a_batch(shape):
    """Whatever stands at the padding, and at lengths that halve evenly and not."""
    encoder = make_encoder(**SHAPES[shape])
    lengths = torch.tensor([37, 16, 5, 1])
    frames = torch.randn(4, 37, FEATURES, dtype=torch.float64)
    noisy = frames.clone()
    for row, length in enumerate(lengths):
        noisy[row, length:] = 1e3 * torch.randn(37 - length, FEATURES, dtype=torch.float64)
    batch = encoder(noisy, lengths)
    steps = lengths
    for _ in range(len(SHAPES[shape].get("channels", (3, 2))) + SHAPES[shape].get("halvings", 2)):
        steps = halve(steps)
    assert (~batch.padding_mask).sum(dim=1).tolist() == steps.tolist()
    for row, length in enumerate(lengths):
        alone = encoder(frames[row : row + 1, :length], lengths[row : row + 1])
        count = int(steps[row])
        assert alone.memory.shape[1] == count
        torch.testing.assert_close(batch.memory[row, :count], alone.memory[0])
        torch.testing.assert_close(batch.last[row], alone.last[0])
        assert batch.memory[row, count:].eq(0).all()


def test_padding_gets_no_gradient():
    encoder, lengths = make_encoder(), torch.tensor([20, 9])
    frames = torch.randn(2, 20, FEATURES, dtype=torch.float64, requires_grad=True)
    encoder(frames, lengths).memory.square().sum().backward()
    assert frames.grad[1, 9:].eq(0).all() and frames.grad[1, :9].ne(0).any()


def test_convolutions_by_hand():
    """One layer of one channel against loops over its windows, past whose edges there is 0."""
    front_end = ConvolutionalFrontEnd(input_size=5, channels=[1]).double()
    x = torch.randn(1, 6, 5, dtype=torch.float64)
    y, lengths = front_end(x, torch.tensor([6]))
    weight, bias = front_end.layers[0].weight[0, 0], front_end.layers[0].bias[0]
    assert y.shape == (1, 3, 3) and front_end.output_size == 3 and lengths.tolist() == [3]
    for s in range(3):
        for band in range(3):
            value = bias.clone()
            for i in range(3):
                for j in range(3):
                    time, place = 2 * s + i - 1, 2 * band + j - 1
                    if 0 <= time < 6 and 0 <= place < 5:
                        value = value + weight[i, j] * x[0, time, place]
            torch.testing.assert_close(y[0, s, band], value.relu())


def test_pairs():
    x = torch.arange(1, 11.0).view(1, 5, 2)
    merged, mask = merge_pairs(x, padding_mask_of(torch.tensor([5]), 5))
    assert merged.tolist() == [[[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 0, 0]]] and mask.tolist() == [[False] * 3]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"halvings": 3}, "3 of 3 layers cannot read pairs"),
        ({"halvings": -1}, "-1 of 3 layers cannot read pairs"),
        ({"layers": 0}, "num_layers must be a positive whole number, not 0"),
        ({"channels": (3, 0)}, "channels of layer 2 must be a positive whole number, not 0"),
        ({"dropout_in": 1.0}, "dropout must be at least 0 and below 1"),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        make_encoder(**change)
