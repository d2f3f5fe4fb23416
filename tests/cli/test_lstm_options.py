"""A command written for fairseq's `--arch lstm` runs with nothing but the architecture changed."""

import pytest

from tests.helpers import hypotheses, parameters, run_generate, run_train

SIZES = (
    "--encoder-embed-dim 12 --encoder-hidden-size 10 --decoder-embed-dim 12 --decoder-hidden-size 14 "
    "--decoder-out-embed-dim 12"
)
COMMANDS = {
    "attention": f"{SIZES} --decoder-attention 1",
    "attention by word": f"{SIZES} --decoder-attention True",
    "no attention": f"{SIZES} --decoder-attention 0",
    "no attention by word": f"{SIZES} --decoder-attention False",
    "deep": f"{SIZES} --encoder-layers 2 --decoder-layers 2 --encoder-bidirectional",
    "dropout": (
        f"{SIZES} --dropout 0.2 --encoder-dropout-in 0.1 --encoder-dropout-out 0.3 --decoder-dropout-in 0.1 "
        "--decoder-dropout-out 0.3"
    ),
    "frozen": f"{SIZES} --encoder-freeze-embed --encoder-embed-path {{vectors}} --decoder-embed-path {{vectors}}",
    "tied": f"{SIZES} --share-decoder-input-output-embed",
    "one embedding": f"{SIZES} --share-all-embeddings",
    "one pretrained embedding": f"{SIZES} --share-all-embeddings --encoder-embed-path {{vectors}}",
    "adaptive softmax": f"{SIZES} --adaptive-softmax-cutoff 5,10",
    "adaptive softmax without attention": f"{SIZES} --adaptive-softmax-cutoff 5,10 --decoder-attention 0",
}


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    """Pretrained embeddings of width 12 for some letters."""
    path = tmp_path_factory.mktemp("vectors") / "vectors"
    rows = [f"{letter} " + " ".join(f"{0.01 * index:.2f}" for index in range(12)) for letter in "abcd"]
    path.write_text("\n".join(["4 12", *rows]) + "\n")
    return path


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("arch", ["lstm", "attn_rnn_s2s"])
def test_command(arch, name, data, joined_data, vectors, tmp_path):
    joined = "--share-all-embeddings" in COMMANDS[name]
    args = COMMANDS[name].format(vectors=vectors).split()
    adaptive = name.startswith("adaptive")
    output = run_train(
        joined_data if joined else data, tmp_path, *args,
        arch=arch, task="translation", max_update=12, ddp_backend="legacy_ddp",
        criterion="adaptive_loss" if adaptive else "label_smoothed_cross_entropy",
    )  # fmt: skip
    assert output.stats("valid")[-1]["valid_num_updates"] == 12

    checkpoint = tmp_path / "checkpoint_last.pt"
    values = parameters(checkpoint)
    assert values["encoder.embed_tokens.weight"].shape[1] == 12
    assert any("adaptive" in key for key in values) == adaptive
    if arch == "attn_rnn_s2s":
        assert any("attention" in key for key in values) == ("attention" not in name.removeprefix("attention"))
        assert any("output_projection" in key for key in values) == (not joined and not adaptive and name != "tied")
    if joined:
        assert values["encoder.embed_tokens.weight"].equal(values["decoder.embed_tokens.weight"])
    if name == "frozen":
        row = [pytest.approx(0.01 * index) for index in range(12)]
        assert values["encoder.embed_tokens.weight"].tolist().count(row) == 4

    found = hypotheses(run_generate(joined_data if joined else data, checkpoint, "--beam", 3, task="translation"))
    assert sorted(found) == list(range(30))
