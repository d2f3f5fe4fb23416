"""The commands as they stand in the README: processes of their own, `--user-dir` from the root and from elsewhere."""

import sys

from tests.helpers import ROOT, SIZES, USER_DIR, command, hypotheses, run_command

TRAINING = (
    "--cpu --task attn_translation --arch attn_rnn_s2s --criterion attn_label_smoothed_cross_entropy "
    "--optimizer adam --lr 0.005 --clip-norm 1.0 --batch-size 16 --max-update 3 --no-epoch-checkpoints"
).split() + [str(word) for pair in SIZES.items() for word in pair]


def run_well(words, **options):
    done = run_command([str(word) for word in words], **options)
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def test_from_the_root_of_the_repository(data, tmp_path):
    done = run_well(command("fairseq-train", data, "--user-dir", "s2s_plugin", "--save-dir", tmp_path, *TRAINING))
    assert "model: AttnRNNS2SModel" in done.stdout + done.stderr
    options = "--user-dir s2s_plugin --cpu --task attn_translation --beam 1 --batch-size 10".split()
    done = run_well(command("fairseq-generate", data, "--path", tmp_path / "checkpoint_last.pt", *options))
    assert len(hypotheses(done)) == 30


def test_from_another_folder_by_the_path_that_the_package_prints(data, tmp_path):
    printed = run_well([sys.executable, "-m", "s2s_plugin"], cwd=ROOT).stdout
    assert printed == f"{USER_DIR}\n"
    user_dir = ["--user-dir", printed.strip()]
    module = [sys.executable, "-m", "fairseq_cli.train"]
    run_well([*module, data, *user_dir, "--save-dir", "model", *TRAINING], cwd=tmp_path)
    options = "--cpu --task attn_translation --path model/checkpoint_last.pt --batch-size 8".split()
    done = run_well(command("fairseq-validate", data, *user_dir, *options), cwd=tmp_path)
    assert "| loss " in done.stdout
