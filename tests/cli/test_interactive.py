"""fairseq-interactive answers every line, whatever is in it."""

import pytest

from tests.helpers import USER_DIR, command, hypotheses, lines, run_command, run_generate, run_interactive

UGLY = {
    "empty": "",
    "blanks": "  \t ",
    "never seen": "zebra Ωmega 未见过",
    "emoji": "a 😀 👩‍👩‍👧‍👦 b 🇨🇳",
    "controls": "a \x00 b \x07 \x1b[31m c\x7f",
    "line separators that are none": "a \u2028 b \u2029 c \x85 d \x0b e \x0c f \x1c g",
    "right to left": "\u202e a b \u202c שלום",
    "joined accents": "a\u0301\u0323 e" + "\u0301" * 200,
    "special symbols": "<s> </s> <pad> <unk> <s>",
    "known": "a b c d",
}


def interactive(data, checkpoint, stdin: str, *args):
    """A process of its own, as somebody would pipe lines into it."""
    words = command(
        "fairseq-interactive", data, "--user-dir", USER_DIR, "--cpu", "--task", "attn_translation",
        "--path", checkpoint, "--beam", 3, *args,
    )  # fmt: skip
    done = run_command(words, stdin=stdin)
    assert done.returncode == 0, done.stderr[-2000:]
    return done


@pytest.mark.parametrize("args", [[], ["--buffer-size", 20, "--batch-size", 8]], ids=["one by one", "in batches"])
def test_ugly_lines_in_one_run(model, args):
    stdin = "".join(f"{line}\n" for line in UGLY.values())
    found = hypotheses(interactive(model.data, model.checkpoint, stdin, *args))
    assert sorted(found) == list(range(len(UGLY)))
    assert all(len(hypos) == 1 for hypos in found.values())
    alone = hypotheses(interactive(model.data, model.checkpoint, UGLY["known"] + "\n"))
    last = found[len(UGLY) - 1][0]
    assert last.words == alone[0][0].words
    assert last.score == pytest.approx(alone[0][0].score, abs=1e-4)


def test_a_line_of_five_thousand_words(model, tmp_path):
    """It and the lines around it are answered, without any option for it."""
    text = tmp_path / "text"
    text.write_text("a b\n" + " ".join(["a b c d e"] * 1000) + "\nc d\n")
    output = run_interactive(model.data, model.checkpoint, text)
    assert sorted(hypotheses(output)) == [0, 1, 2]
    assert len(lines(output, "S")[1][0][0].split()) == 5000


def test_a_limit_that_was_asked_for_is_named(model, tmp_path):
    """With --skip-invalid-size-inputs-valid-test the others are answered."""
    text = tmp_path / "text"
    text.write_text("a b\n" + "a " * 50 + "\nc d\n")
    args = ["--max-source-positions", 20, "--skip-invalid-size-inputs-valid-test"]
    assert sorted(hypotheses(run_interactive(model.data, model.checkpoint, text, *args))) == [0, 2]


def test_answers_are_those_of_generate(model, tmp_path):
    generated = run_generate(model.data, model.checkpoint, "--beam", 2)
    text = tmp_path / "text"
    text.write_text("".join(f"{lines(generated, 'S')[number][0][0]}\n" for number in range(30)))
    output = run_interactive(model.data, model.checkpoint, text, "--buffer-size", 30, "--batch-size", 30)
    for number, hypos in hypotheses(generated).items():
        (answer,) = hypotheses(output)[number]
        assert answer.words == hypos[0].words
        assert answer.score == pytest.approx(hypos[0].score, abs=1e-4)


def test_hard_alignments_are_pairs(model, tmp_path):
    text = tmp_path / "text"
    text.write_text("a b c\nd\n")
    output = run_interactive(model.data, model.checkpoint, text, "--print-alignment", "hard")
    for number, rows in lines(output, "A").items():
        targets = [int(pair.split("-")[1]) for pair in rows[0][0].split()]
        assert targets == list(range(len(hypotheses(output)[number][0].words)))
