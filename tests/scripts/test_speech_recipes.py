"""What the options of the recipes of speech come to, without making an environment or training anything."""

import os
import subprocess

import pytest

from tests.scripts.loading import SCRIPTS

ROOT = SCRIPTS.parent
SETTLED = """
set -euo pipefail
source scripts/lib.sh
source scripts/speech/settings.sh
OPTIONS=$SPEECH_OPTIONS
parse_options "$OPTIONS" "" "$@"
set_train_args
echo "${TRAIN_ARGS[*]}"
"""


def bash(*words) -> subprocess.CompletedProcess:
    env = {name: value for name, value in os.environ.items() if not name.startswith("S2S_")}
    return subprocess.run(["bash", *words], cwd=ROOT, env=env, capture_output=True, encoding="utf-8", timeout=60)


@pytest.mark.parametrize(
    "option, value, argument",
    [
        ("conv-channels", "16,8", "--encoder-conv-channels 16,8"),
        ("layers", "2", "--encoder-layers 2"),
        ("halvings", "1", "--encoder-halvings 1"),
        ("hidden-size", "77", "--encoder-hidden-size 77"),
        ("embed-dim", "33", "--decoder-embed-dim 33 --decoder-out-embed-dim 33"),
        ("decoder-size", "99", "--decoder-hidden-size 99"),
        ("attn-dim", "55", "--attn-dim 55"),
        ("location", "7", "--attn-location-filters 7"),
        ("ctc-weight", "0.25", "--encoder-ctc --ctc-weight 0.25"),
        ("dropout", "0.45", "--dropout 0.45"),
        ("epochs", "3", "--max-epoch 3"),
        ("lr", "6e-3", "--lr 0.005925,"),
        ("warmup", "123", "--warmup-updates 123"),
        ("max-tokens", "4567", "--max-tokens 4567"),
        ("label-smoothing", "0.15", "--label-smoothing 0.15"),
        ("clip-norm", "2.5", "--clip-norm 2.5"),
        ("average", "4", "--keep-last-epochs 4"),
        ("seed", "8", "--seed 8"),
    ],
)
def test_an_option_reaches_fairseq_train(option, value, argument):
    done = bash("-c", SETTLED, "bash", f"--{option}", value)
    assert done.returncode == 0, done.stderr
    assert argument in done.stdout and argument not in bash("-c", SETTLED, "bash").stdout


@pytest.mark.parametrize(
    "option, value, argument", [("location", "0", "--attn-location"), ("ctc-weight", "0.00", "ctc")]
)
def test_none_of_it_is_none(option, value, argument):
    done = bash("-c", SETTLED, "bash", f"--{option}", value)
    assert done.returncode == 0 and argument not in done.stdout


def test_precision_reaches_fairseq_train():
    for value in ("fp16", "bf16"):
        assert f"--{value}" in bash("-c", SETTLED, "bash", "--precision", value).stdout
    assert "--fp16" not in bash("-c", SETTLED, "bash").stdout


@pytest.mark.parametrize("recipe", ["an4", "speech_digits", "librispeech", "aishell"])
@pytest.mark.parametrize(
    "args, message",
    [
        ([], "--data FOLDER is needed: the folder "),
        (["--data", "nowhere"], "--data nowhere: is no folder"),
        (["--data", ".", "--", "--max-epoch", "3"], "--max-epoch after --: say --epochs before it"),
        (["--data", ".", "--conv-channels", "4,x"], "--conv-channels 4,x: must be numbers with commas between"),
    ],
)
def test_mistakes_show_before_anything_is_installed(recipe, args, message):
    done = bash(f"examples/{recipe}/run.sh", *args)
    assert done.returncode == 1 and message in done.stderr and done.stdout == ""
