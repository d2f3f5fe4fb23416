"""What the options of the summarization recipe come to, without making an environment or training anything."""

import os
import subprocess
import sys

import pytest

from tests.scripts.loading import SCRIPTS

ROOT = SCRIPTS.parent
RECIPE = ROOT / "examples" / "summarization" / "run.sh"

# The recipe's functions, and its options from the arguments, up to where it would set the environment up.
SETTLED = """
set -euo pipefail
ROOT=$1 PY=$2 WORK=$3 GPUS=0 WORKERS=1 DEVICE_ARGS=(--cpu)
shift 3
source "$ROOT/scripts/lib.sh"
source "$ROOT/scripts/en_zh/settings.sh"
source "$ROOT/scripts/en_zh/stages.sh"
source "$ROOT/scripts/summarization/settings.sh"
source "$ROOT/scripts/summarization/stages.sh"
cd "$ROOT"
parse_options "$OPTIONS" "$DIFFERENCES" "$@"
opt_data=$ROOT/examples/summarization/data
find_tables
set_system
set_text_files "$WORK/documents"
check_options
set_train_args
set_search_args
"""


def run(*command, returncode=0):
    done = subprocess.run(
        ["bash", *map(str, command)],
        env={name: value for name, value in os.environ.items() if not name.startswith("S2S_")},
        capture_output=True, encoding="utf-8", timeout=60,
    )  # fmt: skip
    assert done.returncode == returncode, done.stderr
    return done.stdout if returncode == 0 else done.stderr


@pytest.fixture
def bash(tmp_path):
    """Runs a script after the above; options of the recipe are arguments."""
    for folder in ("stamps", "logs"):
        (tmp_path / folder).mkdir()
    return lambda script, *options, **expected: run(
        "-c", SETTLED + script, "bash", ROOT, sys.executable, tmp_path, *options, **expected
    )


TRAIN = 'printf "%s\\n" "${TRAIN_ARGS[*]}"'


@pytest.mark.parametrize(
    "options, words",
    [
        (["--system", "plain"], []),
        (["--system", "copy"], ["--copy-attn"]),
        (["--coverage-lambda", "0.5"], ["--copy-attn", "--coverage-attn", "--coverage-lambda 0.5"]),
    ],
)
def test_systems(bash, options, words):
    said = bash(TRAIN, *options, "--", "--attn-heads", "2")
    for word in ("--copy-attn", "--coverage-attn", "--coverage-lambda"):
        assert (word in said) == any(word in expected for expected in words)
    assert " ".join([*words, "--attn-heads 2\n"]) in said and "--share-all-embeddings" in said


def test_another_architecture_cannot_copy(bash):
    assert "--system copy: only attn_rnn_s2s copies" in bash(TRAIN, "--arch", "lstm", "--system", "copy", returncode=1)
    assert "--arch lstm " in bash(TRAIN, "--arch", "lstm", "--system", "plain", "--compute-dtype", "float32")


def test_the_search(bash):
    said = bash('echo "${SEARCH_ARGS[*]}"', "--no-repeat-ngram-size", 3, "--min-len", 4, "--lenpen", "0.8")
    assert said == "--beam 5 --lenpen 0.8 --min-len 4 --max-len-a 0 --max-len-b 60 --no-repeat-ngram-size 3\n"


def test_test_documents_are_read_only_where_they_are_scored(bash):
    script = 'echo "${SPLITS[*]}"; echo "${TABLES[@]##*/}"'
    assert bash(script) == "train valid\ntrain.tsv.gz valid.tsv.gz\n"
    assert bash(script, "--score-on", "test").endswith("\ntrain.tsv.gz valid.tsv.gz test.tsv.gz\n")


DOCUMENTS = 'documents_stage; cat "$WORK/documents/valid.doc" | awk "NR == 1" | wc -w; ls "$WORK/documents"'


def test_documents_are_made_once_and_again_for_a_change(bash):
    made = bash(DOCUMENTS, "--lead-words", 5)
    assert "==> documents   1,500 train" in made and "\n6\n" in made and "test" not in made
    assert "==> documents   done before" in bash(DOCUMENTS, "--lead-words", 5)
    made = bash(DOCUMENTS, "--lead-words", 4, "--with-name=0")
    assert "again, for a change of: lead-words 5 -> 4, with-name 1 -> 0" in made and "\n4\n" in made


SUMMARIES = """
logged() { echo "$*" >&2; }
score_set() { logged generate "${SEARCH_ARGS[@]}"; }
input_stamp() { echo "input $1"; }
PY=echo
summary_stage 2>&1
cat "$WORK/output/score.txt" "$WORK/stamps/test"
"""


def test_scores_are_made_again_for_another_search(bash):
    said = bash(SUMMARIES)
    assert "summaries   of the valid documents" in said and "generate --beam 5" in said
    assert "scripts/summarization/score.py --summaries" in said and "/output/valid.sum" in said
    assert "/text/valid.sum" in said and "/text/valid.doc" in said
    again = bash(SUMMARIES, "--no-repeat-ngram-size", 3)
    assert "again, for a change of: no-repeat-ngram-size 0 -> 3" in again


@pytest.mark.parametrize(
    "options, message",
    [
        ([], "--data FOLDER is needed"),
        (["--data", SCRIPTS], "train.tsv is not there"),
        (["--data", SCRIPTS, "--src-lang", "en"], "unknown option --src-lang"),
        (["--smoke", "--system", "all"], "must be one of plain,copy,coverage"),
    ],
)
def test_mistakes_show_at_once(options, message):
    assert message in run(RECIPE, *options, returncode=1)
