"""What the options of the translation recipes come to, without making an environment or training anything."""

import os
import subprocess
import sys

import pytest

from s2s_plugin.ops.arithmetic import bfloat16_is_faster
from tests.scripts.loading import SCRIPTS

ROOT = SCRIPTS.parent

# The recipe's functions, and its options from the arguments, up to where it would set the environment up.
SETTLED = """
set -euo pipefail
ROOT=$1 PY=$2 WORK=$3 GPUS=0 WORKERS=1 DEVICE_ARGS=(--cpu) opt_prepare_only=0
shift 3
source "$ROOT/scripts/lib.sh"
source "$ROOT/scripts/en_zh/settings.sh"
source "$ROOT/scripts/en_zh/stages.sh"
cd "$ROOT"
parse_options "$OPTIONS" "work=work/en_zh" "$@"
check_options
set_train_args
set_search_args
"""


@pytest.fixture
def bash(tmp_path):
    """Runs a script after the above; options of the recipe are arguments."""

    def bash(script, *options, returncode=0):
        (tmp_path / "stamps").mkdir(exist_ok=True)
        done = subprocess.run(
            ["bash", "-c", SETTLED + script, "bash", ROOT, sys.executable, tmp_path, *map(str, options)],
            env={name: value for name, value in os.environ.items() if not name.startswith("S2S_")},
            capture_output=True, encoding="utf-8", timeout=60,
        )  # fmt: skip
        assert done.returncode == returncode, done.stderr
        return done.stdout if returncode == 0 else done.stderr

    return bash


TAUGHT = """
TEXT=$WORK/text/train
mkdir -p "$WORK/text"
prepare() { rm -f "$WORK"/text/*; echo references | tee "$TEXT.en" >"$TEXT.zh"; }
teach() {
  local done
  echo "$*" >"$WORK/asked"
  done=$(sed 's/.*--done \\([^ ]*\\).*/\\1/' "$WORK/asked")
  [ -f "$done" ] || { echo work >>"$WORK/worked"; cat "$opt_teacher/model.pt" >"$done"; }
  for lang in en zh; do
    { [[ $* != *--beside* ]] || cat "$TEXT.$lang"; cat "$done"; } >"$TEXT.$lang.taught"
  done
}
PY=teach
text_stage >/dev/null
teacher_stage >/dev/null
cmp "$TEXT.en" "$TEXT.zh"
tr '\\n' ' ' <"$TEXT.zh"
"""


@pytest.fixture
def teachers(tmp_path):
    """Two folders of models, and a function that gives the training text after a run with one of them, or with none."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.pt").write_text(f"{name}\n")
        (tmp_path / name / "languages").write_text("src_lang=en\ntgt_lang=zh\n")
    return tmp_path / "one", tmp_path / "two"


def test_a_student_learns_from_its_teacher_whatever_was_before(bash, teachers, tmp_path):
    one, two = teachers
    for teacher in (one, None, one, two, one, one):
        text = f"references {teacher.name} " if teacher else "references "
        assert bash(TAUGHT, *(["--teacher", teacher] if teacher else [])) == text
    assert bash(TAUGHT, "--teacher", one, "--teach", "instead") == "one "
    assert bash(TAUGHT, "--teacher", one) == "references one "
    # Each of them has translated once.
    assert (tmp_path / "worked").read_text() == "work\n" * 2
    (tmp_path / "stamps" / "teacher").unlink()
    assert bash(TAUGHT, "--teacher", one) == "references one "
    (tmp_path / "asked").unlink()
    (one / "shortlist").write_text("words to search over")
    bash(TAUGHT, "--teacher", one)
    assert "--device cpu" in (tmp_path / "asked").read_text()
    (tmp_path / "asked").unlink()
    bash(TAUGHT, "--teacher", one)
    assert not (tmp_path / "asked").exists()
    bash("GPUS=2;" + TAUGHT, "--teacher", two)
    assert "--device cuda" in (tmp_path / "asked").read_text()


@pytest.mark.parametrize("place", ["PY=false", "*.en.taught", "*.zh.taught", "*/stamps/teacher.new"])
def test_a_student_that_is_broken_off_learns_the_same(place, bash, teachers, tmp_path):
    """Killed before the teacher, at the first text, at the second, before the stamp."""
    if place == "PY=false":
        broken, status = TAUGHT.replace("PY=teach", place), 1
    else:
        broken, status = "mv() { [[ $1 != " + place + ' ]] || kill -9 $$; command mv "$@"; }' + TAUGHT, -9
    bash(broken, "--teacher", teachers[1], returncode=status)
    assert bash(TAUGHT, "--teacher", teachers[1]) == "references two "
    assert (tmp_path / "worked").read_text() == "work\n"


def test_a_run_is_not_its_own_teacher(bash, teachers, tmp_path):
    teachers[0].rename(tmp_path / "model")
    options = "--teacher", tmp_path / "model", "--work", tmp_path
    assert "is the model that this run would replace" in bash("set_paths ''", *options, returncode=1)


TRAIN = 'set_train_command; printf "%s\\n" "${TRAIN_COMMAND[@]}"'


def test_one_vocabulary_means_one_embedding(bash):
    separate, joint = bash(TRAIN).split("\n"), bash(TRAIN, "--joint-vocab", 3000).split("\n")
    assert "--share-decoder-input-output-embed" in separate and "--share-all-embeddings" not in separate
    assert "--share-all-embeddings" in joint and "--share-decoder-input-output-embed" not in joint


MADE = """
prepare() { echo "prepare $*" >&2; }
logged() { echo "$*" >&2; mkdir -p "$WORK/data-bin.new"; }
input_stamp() { echo input; }
vocabulary_stage 2>&1
cat "$WORK/stamps/vocabulary"
"""


def test_one_vocabulary_means_one_model_of_pieces_and_one_dictionary(bash):
    made = bash(MADE, "--joint-vocab", 3000, "--sp-type", "bpe", "--coverage", 1)
    assert "prepare vocabulary --joint-vocab 3000 --sp-type bpe --coverage 1\n" in made
    assert "--joined-dictionary" in made and "\njoint-vocab=3000\ncoverage=1\n" in made


def test_the_default_vocabulary_is_made_as_before_these_options_were(bash):
    made = bash(MADE)
    assert "prepare vocabulary --vocab-src 5000 --vocab-tgt 6000 --sp-type unigram --coverage 0.9995\n" in made
    assert "--joined-dictionary" not in made and "--testpref" not in made
    assert made.endswith("\ninput\nvocab-src=5000\nvocab-tgt=6000\nsp-type=unigram\nchar=0\nmax-length=200\n")


@pytest.fixture
def finished(tmp_path):
    """The folder of a model, as `ready_training` and `model_stage` make it; none of its files is read by bash."""
    folder = tmp_path / "finished"
    folder.mkdir()
    for name in ("model.pt", "en.model", "zh.model", "dict.en.txt", "dict.zh.txt"):
        (folder / name).write_text(f"{name}\n")
    (folder / "languages").write_text("src_lang=en\ntgt_lang=zh\n")
    return folder


def test_a_model_that_is_trained_on_keeps_its_vocabulary(bash, finished):
    made = bash(MADE, "--finetune", finished)
    assert f"prepare pieces --model {finished}\n" in made and "--vocab-src" not in made
    assert f"--srcdict {finished}/dict.en.txt --tgtdict {finished}/dict.zh.txt " in made
    before = made[made.rindex("finetune=") :]
    assert before.endswith("\nmax-length=200\n") and "vocab" not in before
    (finished / "search").write_text("--beam 3\n")
    assert before in bash(MADE, "--finetune", finished)
    (finished / "model.pt").write_text("another\n")
    assert bash(MADE, "--finetune", finished).endswith(before[before.index("\n") :])
    assert before not in bash(MADE, "--finetune", finished)
    words = bash("set_paths ''; " + TRAIN, "--finetune", finished, "--work", finished.parent).split("\n")
    assert words[words.index("--finetune-from-model") + 1] == f"{finished}/model.pt"
    assert "--share-decoder-input-output-embed" in words


def test_a_model_of_one_vocabulary_keeps_its_one_embedding(bash, finished):
    (finished / "dict.zh.txt").write_text((finished / "dict.en.txt").read_text())
    made = bash(MADE, "--finetune", finished)
    assert f"--joined-dictionary --srcdict {finished}/dict.en.txt --destdir" in made
    assert "--share-all-embeddings" in bash(TRAIN, "--finetune", finished).split("\n")


@pytest.mark.parametrize(
    "options, missing, message",
    [
        (["--vocab-tgt", 100], None, "--vocab-tgt is for a new vocabulary"),
        (["--joint-vocab", 100], None, "--joint-vocab is for a new vocabulary"),
        (["--char"], None, "--char is for a new vocabulary"),
        ([], "zh.model", "there is no zh.model; give the folder `model` that a recipe made"),
        ([], "dict.en.txt", "there is no dict.en.txt"),
        (["--", "--reset-optimizer"], None, "--reset-optimizer after --: --finetune starts from its model"),
        (["--src-lang", "zh", "--tgt-lang", "en"], None, "translates en-zh, and this run is to learn zh-en"),
    ],
)
def test_no_other_vocabulary_for_a_model_that_is_trained_on(options, missing, message, bash, finished):
    if missing:
        (finished / missing).unlink()
    assert message in bash("", "--finetune", finished, *options, returncode=1)


def test_a_run_does_not_train_on_the_model_it_replaces(bash, finished):
    finished.rename(finished.parent / "model")
    options = "--finetune", finished.parent / "model", "--work", finished.parent
    assert "is the model that this run would replace" in bash("set_paths ''", *options, returncode=1)


@pytest.mark.parametrize(
    "options, has_bfloat16, expected",
    [
        ([], True, []),
        (["--compute-dtype", "bfloat16"], False, ["bfloat16"]),
        (["--compute-dtype", "auto"], True, ["bfloat16"]),
        (["--compute-dtype", "auto"], False, []),
        (["--compute-dtype", "auto", "--arch", "attn_rnn_s2s_gnmt"], True, ["bfloat16"]),
        (["--compute-dtype", "auto", "--arch", "lstm"], True, []),
    ],
)
def test_arithmetic(options, has_bfloat16, expected, bash):
    words = bash(f"bfloat16_is_faster() {{ {str(has_bfloat16).lower()}; }}; {TRAIN}", *options).split("\n")
    assert [words[place + 1] for place, word in enumerate(words) if word == "--compute-dtype"] == expected


def test_arithmetic_is_chosen_for_the_cpu_alone(bash):
    script = "bfloat16_is_faster() { true; }; GPUS=1; " + TRAIN
    assert "--compute-dtype" not in bash(script, "--compute-dtype", "auto")
    assert "--compute-dtype" in bash(script, "--compute-dtype", "bfloat16")


def test_the_cpu_is_asked(bash):
    assert bash("if bfloat16_is_faster; then echo True; else echo False; fi") == f"{bfloat16_is_faster()}\n"


def test_checkpoints_that_are_kept(bash):
    assert "--keep-best-checkpoints" not in bash(TRAIN)
    words = bash(TRAIN, "--average", 3, "--average-of", "best")
    assert "--keep-last-epochs\n3\n" in words and "--keep-best-checkpoints\n3\n" in words
    assert "--keep-best-checkpoints" not in bash(TRAIN, "--average", 0, "--average-of", "best")


CHOOSE = 'choose_checkpoints; echo "$CHOICE"; printf "%s\\n" "${CHECKPOINTS[@]##*/}"'


def test_checkpoints_that_are_averaged(bash, tmp_path):
    best = ["checkpoint.best_bleu_20.1004.pt", "checkpoint.best_bleu_9.2001.pt"]
    (tmp_path / "checkpoints").mkdir()
    for name in [*best, "checkpoint3.pt", "checkpoint4.pt", "checkpoint_best.pt", "checkpoint_last.pt"]:
        (tmp_path / "checkpoints" / name).touch()
    options = ["--epochs", 4, "--average"]
    assert bash(CHOOSE, *options, 2).splitlines() == ["mean of the last 2 epochs", "checkpoint3.pt", "checkpoint4.pt"]
    assert bash(CHOOSE, *options, 1).splitlines() == ["the last epoch", "checkpoint4.pt"]
    assert bash(CHOOSE, *options, 0).splitlines() == ["the epoch with the best validation BLEU", "checkpoint_best.pt"]
    options = ["--epochs", 4, "--average-of", "best", "--average"]
    found = bash(CHOOSE, *options, 3).splitlines()
    assert found == ["mean of the 2 epochs with the best validation BLEU", "--best", "2", *best]
    assert "mean of the 2 checkpoints" in bash(CHOOSE, *options, 3, "--save-updates", 10)
    found = bash(CHOOSE, *options, 1).splitlines()
    assert found == ["the checkpoint with the best validation BLEU", "--best", "1", *best]


def test_the_best_cannot_be_averaged_where_they_were_not_kept(bash):
    assert "did not keep its best" in bash(CHOOSE, "--average-of", "best", returncode=1)


# Translates nothing: the log of the commands, then the scores.
SCORE = """
prepare() { echo "prepare $*" >&2; }
logged() { echo "$*" >&2; }
show_samples() { :; }
input_stamp() { echo "input $1"; }
PY=score
score() { echo "score: $*"; }
test_text_stage 2>&1
test_stage 2>&1
cat "$WORK/output/score.txt" "$WORK/stamps/test"
"""


def test_scoring_the_test_set_of_the_corpus(bash):
    said = bash(SCORE)
    assert "translating the test sentences" in said and said.count("fairseq-generate") == 1
    assert "--gen-subset test " in said and "/data-bin --user-dir" in said and "prepare" not in said
    assert "\nscore: scripts/en_zh/score.py" in said and "/text/test.zh" in said
    assert said.endswith("\ninput model\nbeam=5\nlenpen=1.4\nbleu-tokenizer=zh\n")


def test_scoring_the_validation_set(bash):
    said = bash(SCORE, "--score-on", "valid", "--bleu-tokenizer", "none")
    assert "translating the validation sentences" in said and said.count("fairseq-generate") == 1
    assert "--gen-subset valid " in said and "\nvalid:\nscore: " in said and "/text/valid.zh" in said
    assert "--tokenizer none" in said and said.endswith("bleu-tokenizer=none\nscore-on=valid\n")


@pytest.fixture
def given(tmp_path):
    """Options for a training text and two test sets of one's own."""
    options = ["--src-lang", "en", "--tgt-lang", "de"]
    for name in ("train", "test", "test2"):
        for side, lang in (("src", "en"), ("tgt", "de")):
            path = tmp_path / f"set_{name}.tok.{lang}"
            path.write_text("x\n")
            options += [f"--{name}-{side}", path]
    return options


def test_scoring_two_test_sets(bash, given):
    said = bash(SCORE, *given)
    assert "prepare tests --test-src" in said and "prepare encode --folder tests\n" in said
    assert "tests-encoded/test," in said and "tests-encoded/test2 --srcdict" in said
    assert "--gen-subset test " in said and "--gen-subset test1 " in said and "/tests-bin --user-dir" in said
    scores = said[said.index("\nset_test:\n") :]
    assert "\nset_test2:\nscore: " in scores and "/tests/test2.de" in scores and "input test-text" in scores


def test_one_test_set_of_ones_own_needs_no_heading(bash, given):
    said = bash(SCORE, *given[:-4])
    assert said.count("fairseq-generate") == 1 and "set_test:" not in said and "test2" not in said


def test_test_sets_of_one_name_are_numbered(bash, given, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for lang in ("en", "de"):
            (tmp_path / name / f"news.{lang}").write_text("x\n")
    paths = [tmp_path / name / f"news.{lang}" for name in ("a", "b") for lang in ("en", "de")]
    for place, path in zip((9, 11, 13, 15), paths, strict=True):
        given[place] = path
    said = bash(SCORE, *given)
    assert "\ntest:\nscore: " in said and "\ntest2:\nscore: " in said


TEXT = """
prepare() { echo "prepare $*"; }
text_stage
cat "$WORK/stamps/text"
"""


def test_the_training_does_not_depend_on_what_is_in_a_given_test_text(bash, given, tmp_path):
    said = bash(TEXT, *given)
    assert "--hold-out valid --limit" in said and "test-text=given\n" in said
    (tmp_path / "set_test.tok.en").write_text("y\n")
    assert "text        done before" in bash(TEXT, *given)
    assert "again, for a change of: test-text given -> \n" in bash(TEXT, *given[:8])


@pytest.mark.parametrize(
    "options, message",
    [
        (["--joint-vocab", "300", "--vocab-src", "200"], "--vocab-src is for one language's vocabulary"),
        (["--joint-vocab", "300", "--char"], "--char is for the target language alone"),
        (["--coverage", "0.9"], "--coverage 0.9: must be a number from 0.98 to 1"),
        (["--compute-dtype", "bfloat16", "--arch", "lstm"], "which --arch lstm lacks"),
        (["--average-of", "first"], "must be one of last,best"),
        (["--score-on", "train"], "must be one of test,valid"),
        (["--test2-src", __file__, "--test2-tgt", __file__], "go with --train-src"),
        (["--test2-src", __file__], "--test2-src needs --test2-tgt"),
        (["--", "--finetune-from-model", "model.pt"], "say --finetune before it"),
        (["--", "--keep-best-checkpoints=3"], "say --average-of best before it"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_refuses(options, message, bash):
    assert message in bash("", *options, returncode=1)


def test_a_second_test_text_needs_the_first(bash, given):
    assert "give the first with --test-src" in bash("", *given[:8], *given[12:], returncode=1)


def test_no_auto_where_other_machines_train(bash):
    script = "opt_prepare_only=1; check_options"
    assert "looks at this machine" in bash(script, "--compute-dtype", "auto", returncode=1)


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("beam=5\nlenpen=1", "beam=5\nlenpen=2", "lenpen 1 -> 2"),
        ("beam=5", "beam=5\njoint-vocab=300", "joint-vocab 0 -> 300"),
        ("beam=5\njoint-vocab=300", "beam=5", "joint-vocab 300 -> 0"),
        ("input-text=1\nbeam=5", "input-text=2\nbeam=5", "what it builds on"),
        ("arguments=--a 1", "arguments=--a 2", "arguments of fairseq-train"),
    ],
)
def test_a_change_is_described_with_the_default_of_an_option_that_a_stamp_lacks(old, new, said, bash):
    assert bash(f"describe_change '{old}' '{new}'") == said


def multi30k(*args, **environment):
    return subprocess.run(
        ["bash", ROOT / "examples" / "multi30k" / "run.sh", *map(str, args)],
        env=dict(os.environ, **environment), capture_output=True, encoding="utf-8", timeout=60,
    )  # fmt: skip


def test_multi30k_shows_its_options_and_none_for_other_texts():
    shown = multi30k("--help").stdout
    assert all(words in shown for words in ("--data FOLDER", "[work/multi30k]", "[bpe]", "[auto]", "[valid]"))
    assert "--train-src" not in shown and "--test2-tgt" not in shown


@pytest.mark.parametrize(
    "args, missing, message",
    [
        ([], [], "--data FOLDER is needed"),
        (["--data"], ["val.lc.norm.tok.de"], "val.lc.norm.tok.de is not there, neither plain nor as .gz"),
        (["--test", "--data"], ["test_2017_flickr.lc.norm.tok.en"], "test_2017_flickr.lc.norm.tok.en is not there"),
        (["--tgt-lang", "fr", "--data"], [], "this recipe knows English (en) and German (de)"),
        (["--vocab-src", "30", "--data"], [], "it needs --joint-vocab 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_multi30k_refuses(args, missing, message, tmp_path):
    for split in ("train", "val", "test_2016_flickr", "test_2017_flickr"):
        for name in (f"{split}.lc.norm.tok.en", f"{split}.lc.norm.tok.de"):
            if name not in missing:
                (tmp_path / (name + ".gz" if split == "val" else name)).touch()
    done = multi30k("--work", tmp_path / "work", *args, *([tmp_path] if args else []))
    assert done.returncode == 1 and message in done.stderr
    assert not (tmp_path / "work").exists()
