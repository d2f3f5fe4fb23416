"""Command line over preset over dataclass; what a checkpoint does not know is filled from the dataclass."""

import argparse
from dataclasses import fields

import pytest
import torch

from s2s_plugin.models.config import AttnRNNS2SConfig
from s2s_plugin.models.presets import PRESETS
from tests.helpers import ARCHS, hypotheses, model_options, read_checkpoint, run_generate, run_train, run_validate

DEFAULTS = AttnRNNS2SConfig()
GIVEN = {"encoder_cell": "lstm", "decoder_cell": "tanh", "decoder_bridge": "zero", "dropout": 0.25}
SIZES = {"encoder_embed_dim", "encoder_hidden_size", "decoder_embed_dim", "decoder_hidden_size", "attn_dim"}


@pytest.mark.parametrize("arch", ARCHS)
def test_command_line_over_preset_over_default(arch, data, tmp_path):
    differences = PRESETS.get(arch, {})
    run_train(data, tmp_path / "plain", arch=arch, max_update=1)
    run_train(data, tmp_path / "given", arch=arch, max_update=1, **GIVEN)
    plain, given = (model_options(tmp_path / name / "checkpoint_last.pt") for name in ("plain", "given"))
    for entry in fields(AttnRNNS2SConfig):
        name = entry.name
        if name in SIZES or name.startswith("_") or name == "criterion":
            continue
        expected = differences.get(name, getattr(DEFAULTS, name))
        assert str(plain.get(name, getattr(DEFAULTS, name))) == str(expected), name
        assert str(given.get(name, getattr(DEFAULTS, name))) == str(GIVEN.get(name, expected)), name


def test_the_preset_decides_what_is_built(data, tmp_path):
    run_train(data, tmp_path / "preset", arch="attn_rnn_s2s_vanilla", max_update=1)
    run_train(data, tmp_path / "line", arch="attn_rnn_s2s_vanilla", max_update=1, decoder_cell="lstm")
    rows = {
        name: read_checkpoint(tmp_path / name / "checkpoint_last.pt")["model"][
            "decoder.decoder.first_layer.cells.0.hidden_proj.weight"
        ].size(0)
        for name in ("preset", "line")
    }
    assert rows == {"preset": 24, "line": 4 * 24}


@pytest.mark.parametrize("arch", ARCHS)
def test_checkpoint_without_an_option_that_came_later(arch, data, tmp_path):
    """It is read with the option's default, to generate and to train on."""
    path = tmp_path / "checkpoint_last.pt"
    run_train(data, tmp_path, arch=arch, max_update=10)
    expected = hypotheses(run_generate(data, path))

    state = read_checkpoint(path)
    options = state["cfg"]["model"]
    options = vars(options) if isinstance(options, argparse.Namespace) else options
    for later in (
        "decoder_bridge", "decoder_attention", "share_all_embeddings", "adaptive_softmax_cutoff", "copy_attn",
        "coverage_attn",
    ):  # fmt: skip
        options.pop(later, None)
    state["cfg"]["criterion"]["r_drop_alpha"] = 0.0  # an option that went
    torch.save(state, path)
    assert "decoder_bridge" not in model_options(path)

    assert hypotheses(run_generate(data, path)) == expected
    assert run_validate(data, path).stats("valid")
    output = run_train(data, tmp_path, arch=arch, max_update=12)
    assert output.stats("valid")[-1]["valid_num_updates"] == 12
