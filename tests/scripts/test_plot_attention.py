"""The command: what it reads, what it writes, what it refuses. Drawing itself: test_attention_picture.py."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .loading import SCRIPTS, load_script

for name in ("generate_output.py", "pieces.py", "show_progress.py", "attention_weights.py", "attention_page.py"):
    load_script(name)
plot_attention = load_script("plot_attention.py")

OUTPUT = """\
S-1\t▁a ▁do g
H-1\t-0.5\t▁ein ▁Hund
A-1\t0.7,0.2,0.1,0.0 0.1,0.5,0.3,0.1 0.0,0.0,0.1,0.9
H-1\t-0.9\t▁Hund
A-1\t0.1,0.5,0.3,0.1 0.0,0.0,0.1,0.9
S-0\t▁x
H-0\t-0.2\t▁y
A-0\t0.5,0.5 0.25,0.75
"""
# Stands for fairseq-interactive: notes how it was called, and "translates" each word to itself.
INTERACTIVE = """\
import json, sys
lines = sys.stdin.read().split("\\n")[:-1]
json.dump([sys.argv[1:], lines], open(sys.argv[0] + ".json", "w"))
print("INFO: a line of the log", file=sys.stderr)
if "--fail" in sys.argv:
    print("ValueError: it failed", file=sys.stderr)
    sys.exit(1)
for number, line in enumerate(lines):
    size = len(line.split()) + 1
    rows = (",".join("1.0" if row == column else "0.0" for column in range(size)) for row in range(size))
    print(f"S-{number}\\t{line}", f"H-{number}\\t-1.0\\t{line}", f"A-{number}\\t{' '.join(rows)}", sep="\\n")
"""


@pytest.fixture
def generated(tmp_path):
    path = tmp_path / "generated.txt"
    path.write_text(OUTPUT, encoding="utf-8")
    return path


@pytest.fixture
def run(monkeypatch):
    """Runs the command in this process; its errors are ValueErrors, which the script prints."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["plot_attention.py", *map(str, words)])
        plot_attention.main()

    return run


@pytest.fixture
def interactive(monkeypatch, tmp_path):
    """Puts the stand-in in the place of fairseq-interactive; returns what it was called with."""
    program = tmp_path / "interactive.py"
    program.write_text(INTERACTIVE)
    monkeypatch.setattr(plot_attention, "INTERACTIVE", (sys.executable, str(program)))
    return lambda: json.loads((tmp_path / "interactive.py.json").read_text())


@pytest.fixture
def checkpoint(tmp_path):
    """(file of a model, folder of its dictionaries)"""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dict.en.txt").touch()
    (tmp_path / "checkpoint.pt").touch()
    return tmp_path / "checkpoint.pt", tmp_path / "data"


def page_data(path: Path) -> list:
    text = path.read_text(encoding="utf-8")
    return json.loads(text.partition('id="data">')[2].partition("</script>")[0])


def names(folder: Path) -> list:
    return sorted(path.name for path in folder.iterdir())


# --- pictures and pages of a generated text ---


def test_a_page_of_all_sentences(run, generated, tmp_path):
    run(generated, "--output", tmp_path / "page.html", "--title", "A <page>")
    first, second = page_data(tmp_path / "page.html")
    assert (first["name"], first["source"], first["target"]) == ("Sentence 0 (-0.20)", ["▁x", "</s>"], ["▁y", "</s>"])
    assert first["weights"] == [500, 500, 250, 750]
    assert (second["name"], second["source"]) == ("Sentence 1 (-0.50)", ["▁a", "▁do", "g", "</s>"])
    assert "<title>A &lt;page&gt;</title>" in (tmp_path / "page.html").read_text()
    assert names(tmp_path) == ["generated.txt", "page.html"]


def test_a_page_of_words_and_of_several_hypotheses(run, generated, tmp_path):
    run(generated, "--output", tmp_path / "page.html", "--post-process", "sentencepiece", "--nbest", 2)
    pages = page_data(tmp_path / "page.html")
    assert [page["name"] for page in pages] == [
        "Sentence 0, hypothesis 1 (-0.20)", "Sentence 1, hypothesis 1 (-0.50)", "Sentence 1, hypothesis 2 (-0.90)",
    ]  # fmt: skip
    assert (pages[1]["source"], pages[1]["target"]) == (["a", "dog", "</s>"], ["ein", "Hund", "</s>"])
    assert pages[1]["weights"] == [700, 300, 0, 100, 800, 100, 0, 100, 900]


def test_a_page_needs_no_matplotlib_and_a_picture_says_how_to_get_it(generated, tmp_path):
    (tmp_path / "lacking" / "matplotlib").mkdir(parents=True)
    (tmp_path / "lacking" / "matplotlib" / "__init__.py").write_text("raise ImportError('lacking')")

    def run(output):
        return subprocess.run(
            [sys.executable, SCRIPTS / "plot_attention.py", "--output", tmp_path / output],
            env=dict(os.environ, PYTHONPATH=str(tmp_path / "lacking"), PYTHONUTF8="1"),
            input=OUTPUT, encoding="utf-8", capture_output=True,
        )  # fmt: skip

    assert run("page.html").returncode == 0 and len(page_data(tmp_path / "page.html")) == 2
    found = run("pictures")
    assert found.returncode == 1 and found.stderr.startswith("error: pictures need matplotlib: pip install -e")
    assert not (tmp_path / "pictures").exists()


@pytest.fixture
def draws():
    pytest.importorskip("matplotlib")
    load_script("attention_fonts.py")
    load_script("attention_picture.py")


@pytest.mark.parametrize(
    "ending, start", [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF"), ("PNG", b"\x89PNG")]
)
def test_one_picture(draws, run, generated, tmp_path, ending, start):
    path = tmp_path / f"picture.{ending}"
    path.write_bytes(b"what was there before")
    run(generated, "--output", path, "--sentences", 1)
    assert path.read_bytes().startswith(start)
    assert names(tmp_path) == sorted(["generated.txt", path.name])


def test_a_folder_of_pictures(draws, run, generated, tmp_path):
    run(generated, "--output", tmp_path / "pictures")
    assert names(tmp_path / "pictures") == ["sentence-0.png", "sentence-1.png"]
    run(generated, "--output", tmp_path / "pictures", "--sentences", "1", "--nbest", 2, "--format", "svg")
    svgs = [name for name in names(tmp_path / "pictures") if name.endswith(".svg")]
    assert svgs == ["sentence-1-1.svg", "sentence-1-2.svg"]


def test_a_pdf_of_pages(draws, run, generated, tmp_path):
    run(generated, "--output", tmp_path / "pages.pdf")
    assert (tmp_path / "pages.pdf").read_bytes().count(b"/Type /Page /") == 2


def test_titles(draws, run, generated, tmp_path, monkeypatch):
    picture = sys.modules["attention_picture"]
    drawn = []
    monkeypatch.setattr(picture, "save_picture", lambda path, kind, attention, title, families: path.touch())
    monkeypatch.setattr(picture, "save_pages", lambda path, pictures, families: (path.touch(), drawn.extend(pictures)))
    run(generated, "--output", tmp_path / "pages.pdf", "--title", "Test")
    run(generated, "--output", tmp_path / "page.pdf", "--title", "Test", "--sentences", "0")
    run(generated, "--output", tmp_path / "page.pdf", "--sentences", "0")
    assert [title for _, title in drawn] == ["Test: Sentence 0", "Test: Sentence 1", "Test", ""]


def test_a_picture_that_fails_leaves_the_old_one(draws, run, generated, tmp_path, monkeypatch):
    def fail(path, *args):
        path.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(sys.modules["attention_picture"], "save_picture", fail)
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="no space"):
        run(generated, "--output", path, "--sentences", "0")
    assert path.read_bytes() == b"old" and names(tmp_path) == ["generated.txt", "picture.png"]


# --- with a model ---


def test_a_checkpoint_translates_the_sentences(run, interactive, checkpoint, tmp_path):
    model, data = checkpoint
    text = tmp_path / "text"
    text.write_text("a b\n\nc\td  e\u2028f\r\n", encoding="utf-8")
    run("--model", model, "--data", data, text, "--output", tmp_path / "page.html", "--nbest", 7, "--", "--lenpen", "2")
    words, lines = interactive()
    assert lines == ["a b", "", "c d e f"]
    assert words[:3] == [str(data), "--path", str(model)] and words[-2:] == ["--lenpen", "2"]
    given = " ".join(words)
    assert f"--user-dir {SCRIPTS.parent / 's2s_plugin'} --task attn_translation --print-alignment soft" in given
    assert "--beam 7 --nbest 7" in given and "--bpe" not in given
    assert [page["source"] for page in page_data(tmp_path / "page.html")] == [
        ["a", "b", "</s>"], ["</s>"], ["c", "d", "e", "f", "</s>"],
    ]  # fmt: skip


def test_only_the_sentences_that_are_wanted_are_translated(run, interactive, checkpoint, tmp_path):
    model, data = checkpoint
    (tmp_path / "text").write_text("a\nb\nc\nd")
    run("--model", model, "--data", data, tmp_path / "text", "--output", tmp_path / "p.html", "--sentences", "3,1")
    assert interactive()[1] == ["d", "b"]
    pages = page_data(tmp_path / "p.html")
    assert [(page["name"], page["source"][0]) for page in pages] == [
        ("Sentence 3 (-1.00)", "d"), ("Sentence 1 (-1.00)", "b"),
    ]  # fmt: skip


def test_a_folder_of_a_recipe_takes_raw_text(run, interactive, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.pt").touch()
    (model / "languages").write_text("src_lang=en\ntgt_lang=zh\n")
    (tmp_path / "text").write_text("▁a b ▁c\n", encoding="utf-8")
    run("--model", model, tmp_path / "text", "--output", tmp_path / "page.html")
    given = " ".join(interactive()[0])
    assert given.startswith(f"{model} --path {model}/model.pt")
    assert "--source-lang en --target-lang zh" in given
    assert f"--bpe sentencepiece --sentencepiece-model {model}/en.model" in given
    assert page_data(tmp_path / "page.html")[0]["source"] == ["ab", "c", "</s>"]
    run("--model", model, tmp_path / "text", "--output", tmp_path / "page.html", "--post-process", "none")
    assert page_data(tmp_path / "page.html")[0]["source"] == ["▁a", "b", "▁c", "</s>"]


def test_what_fairseq_died_of_is_shown(run, interactive, checkpoint, tmp_path):
    model, data = checkpoint
    (tmp_path / "text").write_text("a\n")
    with pytest.raises(ValueError, match="fairseq-interactive failed:\n  ValueError: it failed"):
        run("--model", model, "--data", data, tmp_path / "text", "--output", tmp_path / "p.html", "--", "--fail")
    assert not (tmp_path / "p.html").exists()


# --- what is refused, before anything is done ---


@pytest.mark.parametrize(
    "words, message",
    [
        ("generated.txt --output x.jpg", r"--output x.jpg: the ending .jpg is unknown; choose from .png, .svg, .pdf"),
        ("generated.txt --output x --format html", "--format html: choose from png, svg, pdf"),
        ("generated.txt --output x.png --format svg", "--format svg: goes with a folder"),
        ("generated.txt --output no/x.png", "--output no/x.png: no folder no"),
        ("generated.txt --output text", "--output text: is a file"),
        ("generated.txt --output x.html --font y.ttf", "--font y.ttf: goes with pictures"),
        ("generated.txt --output x.png --font y.ttf", "--font y.ttf: no such file"),
        ("generated.txt --output x.html --sentences 1,b", "--sentences 1,b: give numbers"),
        ("generated.txt --output x.html --sentences 1,7", "generated.txt: it has no sentence 7; it has 0 to 1"),
        ("generated.txt --output x.html --nbest 0", "--nbest 0: must be at least 1"),
        ("generated.txt --output x.html --post-process bpe", "--post-process bpe: choose from none, sentencepiece"),
        ("nowhere.txt --output x.html", "no file nowhere.txt"),
        ("text --output x.html", "text: it holds no line with weights .* --print-alignment soft"),
        ("generated.txt --output x.html --data data", "--data goes with --model"),
        ("generated.txt --output x.html -- --beam 3", "-- goes with --model"),
        ("text --output x.html --model nowhere.pt", "--model nowhere.pt: no such file or folder"),
        ("text --output x.html --model checkpoint.pt", "--model checkpoint.pt: is a checkpoint; .* with --data"),
        ("text --output x.html --model checkpoint.pt --data .", r"--data \.: no dict"),
        ("text --output x.html --model data", "--model data: no model.pt and languages there"),
        ("text --output x.html --model data --data data", "--data data: goes with a checkpoint"),
        ("text --output x.html --model checkpoint.pt --data data --sentences 5", "--sentences 5: text has .* 0 to 1"),
        ("text --output x.png --model checkpoint.pt --data data", "x.png: holds one picture, but there are 2"),
        (
            "generated.txt --output x.svg",
            "x.svg: holds one picture, but there are 2; .* --sentences 0, or give a folder",
        ),
        ("generated.txt --output x.svg --sentences 1 --nbest 2", "x.svg: holds one picture, but there are 2"),
    ],
)
def test_what_is_refused(draws, run, generated, checkpoint, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("a b\nc\n")
    monkeypatch.setattr(plot_attention, "translate", lambda *args: pytest.fail("the model was asked"))
    before = names(tmp_path)
    with pytest.raises(ValueError, match=message):
        run(*words.split())
    assert names(tmp_path) == before


def test_an_error_is_one_line(generated):
    found = subprocess.run(
        [sys.executable, SCRIPTS / "plot_attention.py", generated, "--output", "x.jpg"], capture_output=True, text=True
    )
    assert (found.returncode, found.stdout, found.stderr.count("\n")) == (1, "", 1)
    assert found.stderr.startswith("error: --output x.jpg")
