"""Exported graphs, run by onnxruntime, against the model in torch: every step, at sizes that were not traced."""

import pytest
import torch

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from s2s_plugin.export.graphs import EncoderGraph  # noqa: E402
from s2s_plugin.export.onnx import ENCODER, STEP, export_model  # noqa: E402
from tests.models.builders import make_dictionary, make_model, make_task  # noqa: E402

WORDS = make_dictionary(11)
MODELS = {
    "default": {
        "encoder_bidirectional": True, "encoder_layers": 2, "decoder_layers": 2, "encoder_residual": True,
        "decoder_residual": True,
    },
    "recurrent LSTM": {
        "encoder_cell": "lstm", "decoder_cell": "lstm", "attn_mode": "recurrent", "decoder_bridge": "last",
        "attn_energy": "normed", "decoder_readout": "maxout",
    },
    "norms": {"encoder_layer_norm": True, "decoder_layer_norm": True, "encoder_cell": "lstm", "decoder_cell": "lstm"},
    "deep transitions": {"encoder_transition_depth": 2, "decoder_transition_depth": 3, "decoder_layer_norm": True},
    "plain RNN": {
        "encoder_cell": "tanh", "decoder_cell": "tanh", "decoder_readout": "tanh", "coverage_attn": True,
        "attn_location_filters": 3, "attn_location_width": 5,
    },
    "parallel": {
        "attn_mode": "parallel", "attn_heads": 2, "decoder_layers": 2, "decoder_bridge": "zero", "coverage_attn": True,
    },
    "copying": {"copy_attn": True, "share_all_embeddings": True, "decoder_embed_dim": 6, "decoder_out_embed_dim": 6},
    "no attention": {
        "decoder_attention": "0", "attn_dim": None, "decoder_bridge": "last", "adaptive_softmax_cutoff": "5,9",
    },
}  # fmt: skip


def sentences(batch: int, size: int) -> torch.Tensor:
    """(B, S) words and the end, the rows of different lengths, padded on the right but for one row."""
    torch.manual_seed(batch)
    tokens = torch.randint(WORDS.nspecial, len(WORDS), (batch, size))
    for row in range(batch):
        length = max(1, size - row)
        tokens[row, length - 1] = WORDS.eos()
        tokens[row, length:] = WORDS.pad()
    tokens[-1] = tokens[-1].roll(int(tokens[-1].eq(WORDS.pad()).sum()))
    return tokens


@pytest.fixture(scope="module", params=MODELS, ids=str)
def exported(request, tmp_path_factory):
    torch.manual_seed(1)
    options = MODELS[request.param]
    target = WORDS if options.get("share_all_embeddings") else make_dictionary(12, "t")
    if options.get("copy_attn"):
        target = WORDS
    model = make_model(make_task(WORDS, target), **options)
    folder = tmp_path_factory.mktemp("graphs")
    names = export_model(model, folder)
    sessions = [onnxruntime.InferenceSession(folder / name) for name in (ENCODER, STEP)]
    return model, names, sessions


@pytest.mark.parametrize("batch, size", [(1, 1), (1, 7), (4, 6)])
def test_every_step_is_torchs(exported, batch, size):
    model, (made, inputs, outputs), (encoder, step) = exported
    src_tokens = sentences(batch, size)
    given = dict(zip(made, encoder.run(None, {"src_tokens": src_tokens.numpy()}), strict=True))
    with torch.no_grad():
        expected = EncoderGraph(model).start(src_tokens)
        for name in made:
            torch.testing.assert_close(torch.from_numpy(given[name]), getattr(expected, name), atol=1e-5, rtol=1e-4)
        incremental, encoder_out = {}, model.encoder(src_tokens)
        tokens = torch.full((batch, 1), model.decoder.dictionary.eos())
        given = {name: given[name] for name in inputs[1:]}
        for _ in range(4):
            logits, extra = model.decoder(tokens, encoder_out, incremental_state=incremental)
            lprobs = model.get_normalized_probs((logits, extra), log_probs=True)[:, -1]
            found = dict(zip(outputs, step.run(None, {"prev_tokens": tokens[:, -1].numpy(), **given}), strict=True))
            torch.testing.assert_close(torch.from_numpy(found["lprobs"]), lprobs, atol=1e-5, rtol=1e-4)
            if extra["attn"] is not None:
                attn = extra["attn"][0][:, -1]
                torch.testing.assert_close(torch.from_numpy(found["attn"]), attn, atol=1e-5, rtol=1e-4)
            assert ("attn" in found) == (extra["attn"] is not None)
            given |= {name.removeprefix("next_"): x for name, x in found.items() if name.startswith("next_")}
            words = lprobs[:, WORDS.nspecial :].argmax(dim=1, keepdim=True) + WORDS.nspecial
            tokens = torch.cat([tokens, words], dim=1)
