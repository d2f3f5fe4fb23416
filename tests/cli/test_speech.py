"""`attn_rnn_s2t` through fairseq's task speech_to_text: training, resuming, search, scores."""

import random
import re
import shutil

import numpy
import pytest

from tests.helpers import Refused, hypotheses, model_options, run_generate, run_train, run_validate

LETTERS = "abcdef"
FEATURES = 6
SPEECH = {"task": "speech_to_text", "arch": "attn_rnn_s2t", "encoder_conv_channels": "4", "encoder_hidden_size": 24,
          "decoder_hidden_size": 32, "attn_dim": 16, "lr": 0.01, "batch_size": 32, "dropout": 0.0}  # fmt: skip


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """A folder as speech_to_text reads it: each letter is a few noisy frames of its own."""
    folder, rng = tmp_path_factory.mktemp("speech"), random.Random(9)
    noise = numpy.random.default_rng(9)
    (folder / "dict.txt").write_text("".join(f"{letter} 1\n" for letter in LETTERS))
    (folder / "config.yaml").write_text(
        f"vocab_filename: dict.txt\ninput_feat_per_channel: {FEATURES}\ninput_channels: 1\n"
        "feature_transforms:\n  _train: [specaugment]\nspecaugment:\n"
        "  time_mask_N: 1\n  time_mask_T: 2\n  time_mask_p: 1.0\n"
        "  freq_mask_N: 1\n  freq_mask_F: 1\n"
    )
    for split, count in (("train", 400), ("valid", 30), ("test", 40)):
        rows = ["id\taudio\tn_frames\ttgt_text\tspeaker"]
        for number in range(count):
            letters = rng.choices(LETTERS, k=rng.randint(1, 5))
            letters = [b for a, b in zip(["", *letters], letters, strict=False) if a != b]  # none twice in a row
            places = [LETTERS.index(letter) for letter in letters for _ in range(rng.randint(4, 9))]
            frames = numpy.eye(FEATURES, dtype=numpy.float32)[places] * 3
            frames += 0.3 * noise.standard_normal(frames.shape).astype(numpy.float32)
            path = folder / f"{split}-{number}.npy"
            numpy.save(path, frames)
            rows.append(f"{number}\t{path}\t{len(frames)}\t{' '.join(letters)}\tone")
        (folder / f"{split}.tsv").write_text("\n".join(rows) + "\n")
    return folder


def generate(speech, checkpoint, *args, batch_size=16):
    return run_generate(speech, checkpoint, *args, task="speech_to_text", batch_size=batch_size)


@pytest.mark.parametrize("name", ["/etc/secret.npy", "{root}/../secret.npy", "a/../../../secret.npy", "../x.zip:0:9"])
def test_a_manifest_names_no_files_elsewhere(speech, tmp_path, name):
    """By fairseq's own data code, under the plugin: below the data or `audio_root` of config.yaml alone."""
    shutil.copytree(speech, tmp_path / "data")
    manifest = tmp_path / "data" / "valid.tsv"
    lines = manifest.read_text().replace(str(speech), str(tmp_path / "data")).split("\n")
    cells = lines[3].split("\t")
    lines[3] = "\t".join([cells[0], name.format(root=tmp_path / "data"), *cells[2:]])
    manifest.write_text("\n".join(lines))
    with pytest.raises(Refused, match=r"valid.tsv: '.*' is outside .*data.*; the line audio_root in config.yaml names"):
        run_train(tmp_path / "data", tmp_path / "model", **SPEECH, max_update=1)


def test_audio_root_names_the_recordings(speech, tmp_path):
    """Absolute names below it, relative ones, and a link to another disk."""
    for split in ("train", "valid"):
        text = (speech / f"{split}.tsv").read_text()
        (tmp_path / f"{split}.tsv").write_text(text.replace(f"\t{speech}/{split}-2", f"\tlink/{split}-2"))
    (tmp_path / "dict.txt").write_text((speech / "dict.txt").read_text())
    (tmp_path / "config.yaml").write_text(f"{(speech / 'config.yaml').read_text()}audio_root: {speech}\n")
    if not (speech / "link").exists():
        (speech / "link").symlink_to(speech)
    run_train(tmp_path, tmp_path / "model", **SPEECH, max_update=1)


@pytest.mark.parametrize(
    "options",
    [
        ["--encoder-bidirectional", "--attn-location-filters", "3", "--attn-location-width", "5"],
        [
            "--encoder-bidirectional",
            "--encoder-layers",
            "2",
            "--encoder-halvings",
            "1",
            "--encoder-ctc",
            "--ctc-weight",
            "0.3",
        ],
    ],
    ids=["location", "pyramid and CTC"],
)
def test_it_learns_resumes_and_decodes_alike_in_any_batch(speech, tmp_path, options):
    rows = run_train(speech, tmp_path, *options, **SPEECH, max_update=260).stats("train")
    assert rows[-1]["train_loss"] < 0.5 * rows[0]["train_loss"]
    if "--encoder-ctc" in options:
        assert rows[-1]["train_ctc_loss"] < 0.5 * rows[0]["train_ctc_loss"]
    output = run_train(speech, tmp_path, *options, **SPEECH, max_update=390)
    assert "260 updates)" in output.log
    path = tmp_path / "checkpoint_last.pt"
    for word in (word for word in options if word.startswith("--") and word != "--ctc-weight"):
        assert word[2:].replace("-", "_") in model_options(path)
    batched, alone = (
        generate(speech, path, "--beam", 3, "--scoring", "wer"),
        generate(speech, path, "--beam", 3, batch_size=1),
    )
    assert {n: h[0].words for n, h in hypotheses(batched).items()} == {
        n: h[0].words for n, h in hypotheses(alone).items()
    }
    error_rate = float(re.search(r"WER: ([\d.]+)", batched.stdout + batched.log)[1])
    assert error_rate < 15


def test_it_is_validated(speech, tmp_path):
    run_train(speech, tmp_path, **SPEECH, max_update=3)
    output = run_validate(speech, tmp_path / "checkpoint_last.pt", "--task", "speech_to_text")
    assert output.stats("valid")[0]["valid_loss"] > 0


REFUSED = {
    "ctc without an output": (["--ctc-weight", "0.3"], "--ctc-weight 0.3 and --encoder-ctc of the model go together"),
    "an output without ctc": (["--encoder-ctc"], "--ctc-weight 0.0 and --encoder-ctc of the model go together"),
    "all of the loss": (["--encoder-ctc", "--ctc-weight", "1"], "--ctc-weight 1.0: a share of the loss, below 1"),
    "ctc of another criterion": (
        ["--encoder-ctc", "--criterion", "label_smoothed_cross_entropy"],
        "--encoder-ctc goes with --criterion attn_label_smoothed_cross_entropy --ctc-weight, not label_smoothed",
    ),
    "ctc beside accuracy": (["--encoder-ctc", "--report-accuracy"], "--ctc-weight 0.0 and --encoder-ctc of the model"),
    "channels": (["--encoder-conv-channels", "4,x"], "--encoder-conv-channels 4,x: numbers between commas"),
    "too many halvings": (["--encoder-halvings", "1"], "1 of 1 layers cannot read pairs"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused(speech, tmp_path, name):
    options, message = REFUSED[name]
    with pytest.raises(Refused, match=message):
        run_train(
            speech,
            tmp_path,
            *options,
            **{**SPEECH, **({"encoder_conv_channels": options[1]} if "chan" in options[0] else {})},
        )


def test_text_is_refused(data, tmp_path):
    with pytest.raises(Refused, match="attn_rnn_s2t reads frames of features: use --task speech_to_text"):
        run_train(data, tmp_path, arch="attn_rnn_s2t")
