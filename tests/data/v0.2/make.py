"""Makes the small models of this folder, with the commands of the version that it is named after.

usage: python tests/data/v0.2/make.py [NAME ...]

They are trained in a folder of the system's temporary ones, from texts that are made up here. Of each model NAME, what
users keep becomes the folder NAME in models.tar.xz, and NAME.tsv gets a few lines and what this version makes of them,
with a tab between. A model that has not learnt its task, or whose second best is near the best, is an error. With
names, only these are made again.
"""

import random
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import numpy
import torch

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
WORK = Path(tempfile.gettempdir()) / f"models-of-{HERE.name}"
KEPT = WORK / "kept"
MARGIN = 0.1
"""Between the scores of the best translation and of the second: no other processor's rounding comes near it."""

COLOURS = dict(zip("red blue green black white yellow".split(), "rot blau grün schwarz weiß gelb".split(), strict=True))
LENGTHS = [1, 1, 1, 2, 2, 3, 4]
PHONES = dict(zip("a b c d e f".split(), "ɑ b ts d ə x".split(), strict=True))
ADJECTIVES, NOUNS = "fast small old".split(), "editor player shell game".split()
WIDER, START = 6, 1e-9
"""By how much weights are multiplied before a training, since their range of 0.1 is meant for larger layers; and
the learning rate of what comes before, which leaves them as they are."""


def run(*words) -> str:
    """A command of its own, in one thread. Returns what it printed."""
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    folder = Path(sys.executable).parent
    words = [str(word) for word in words]
    if words[0].startswith("fairseq-"):
        words[0] = str(folder / words[0])
    path = {"PATH": f"{folder}:/usr/local/bin:/usr/bin:/bin", "HOME": str(WORK)}
    done = subprocess.run(words, cwd=ROOT, env=environment | path, capture_output=True, encoding="utf-8")
    if done.returncode:
        sys.exit(f"{' '.join(words)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout


# --- texts ---


def write_lines(path: Path, lines) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def write_colours() -> Path:
    """Colours, word for word: a folder of {train,valid,test}.{en,de}."""
    rng, folder = random.Random(5), WORK / "colours"
    for split, count in (("train", 400), ("valid", 10), ("test", 11)):
        lengths = [1, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4] if split == "test" else rng.choices(LENGTHS, k=count)
        rows = [rng.choices(list(COLOURS), k=length) for length in lengths]
        write_lines(folder / f"{split}.en", [" ".join(row) for row in rows])
        write_lines(folder / f"{split}.de", [" ".join(COLOURS[word] for word in row) for row in rows])
    return folder


def read_pairs(source: Path, target: Path) -> list[tuple[str, str]]:
    sides = (path.read_text(encoding="utf-8").splitlines() for path in (source, target))
    return list(zip(*sides, strict=True))


def colours_to_test() -> list[tuple[str, str]]:
    return read_pairs(WORK / "colours" / "test.en", WORK / "colours" / "test.de")


# --- what is kept ---


def keep(name: str, files) -> Path:
    """A new folder of copies."""
    folder = KEPT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file in files:
        shutil.copy(file, folder)
    return folder


def model_files(folder: Path) -> list[Path]:
    """Of a recipe's folder, what belongs to its model."""
    names = re.compile(r"model\.pt|.*\.model|dict\..*\.txt|languages|search|shortlist")
    return [file for file in sorted(folder.iterdir()) if names.fullmatch(file.name)]


def write_expected(name: str, found: list[tuple[str, str, str, float]]) -> None:
    """Writes down the lines that were translated rightly and by far, of which there must be some.

    Args: found, of each line the source, the reference, the translation, and how much better it is than the second.
    """
    chosen = [(source, text) for source, target, text, margin in found if text == target and margin >= MARGIN]
    if len(chosen) < 5 or not any(" " in text for _, text in chosen):
        sys.exit(f"{name} has not learnt its task: {found}")
    write_lines(HERE / f"{name}.tsv", [f"{source}\t{target}" for source, target in chosen])


def expect(name: str, pairs: list[tuple[str, str]]) -> None:
    """Of a text model, by `Translator`."""
    from s2s_plugin import Translator

    found = Translator.load(KEPT / name).translate([source for source, _ in pairs], n_best=2)
    best = [(one.text, one.hypotheses[0].score - one.hypotheses[1].score) for one in found]
    write_expected(name, [(*pair, *one) for pair, one in zip(pairs, best, strict=True)])


def expect_generated(name: str, data: Path, pairs: list[tuple[str, str]], *args) -> None:
    """Of the split `test` of binary data, by fairseq-generate."""
    words = [data, "--user-dir", "s2s_plugin", "--cpu", "--path", KEPT / name / "model.pt", "--nbest", 2, *args]
    # With another multiple the task `translation` leaves lines out of some sets.
    printed, found = run("fairseq-generate", *words, "--required-batch-size-multiple", 1), []
    for number, pair in enumerate(pairs):
        (best, text), (second, _) = re.findall(rf"^H-{number}\t(\S+)\t(.*)$", printed, re.MULTILINE)
        found.append((*pair, text, float(best) - float(second)))
    write_expected(name, found)


# --- translation ---


def widen(model: Path) -> Path:
    """Multiplies the parameters of a checkpoint. Returns the checkpoint."""
    state = torch.load(model, weights_only=False)
    state["model"] = {name: tensor * WIDER for name, tensor in state["model"].items()}
    torch.save(state, model)
    return model


def recipe(name: str, *args) -> Path:
    """A translation model by the recipe, of sentencepiece's pieces. Returns the folder of its work.

    One of one epoch is made first, to begin with its widened weights. Args: further ones; after `--` those of
    fairseq-train, which rule in the second training alone.
    """
    text, work, start = write_colours(), WORK / name, WORK / f"{name}-start"
    files = [f"--{split}-{side}={text / split}.{lang}" for split in ("train", "valid", "test")
             for side, lang in (("src", "en"), ("tgt", "de"))]  # fmt: skip
    words = [
        "bash", "scripts/en_zh/run.sh", "--src-lang", "en", "--tgt-lang", "de", *files, "--embed-dim", 8,
        "--hidden-size", 6, "--attn-dim", 8, "--dropout", 0, "--max-tokens", 60, "--max-length", 20, "--lr", 0.02,
        "--warmup", 20, "--threads", 1, "--label-smoothing", 0, "--device", "cpu",
    ]  # fmt: skip
    own = list(args[: args.index("--")] if "--" in args else args)
    if not (start / "stamps" / "test").exists():
        run(*words, "--work", start, "--vocab-src", 30, "--vocab-tgt", 30, "--epochs", 1, *own, "--lr", START)
        widen(start / "model" / "model.pt")
    if not (work / "stamps" / "test").exists():
        run(*words, "--work", work, "--finetune", start / "model", "--epochs", 25, *args)
    return work


def make_plain() -> None:
    keep("plain", model_files(recipe("plain") / "model"))
    expect("plain", colours_to_test())


def make_lstm() -> None:
    keep("lstm", model_files(recipe("lstm", "--arch", "lstm") / "model"))
    expect("lstm", colours_to_test())


def rewrite(command: str, name: str, folder: Path) -> None:
    """By `python -m s2s_plugin`, from one folder to another."""
    shutil.rmtree(KEPT / name, ignore_errors=True)
    run(sys.executable, "-m", "s2s_plugin", command, "--model", folder, "--output", KEPT / name)
    if command != "export":
        expect(name, colours_to_test())


def make_quantised() -> None:
    rewrite("quantize", "quantised", KEPT / "plain")


def make_packed() -> None:
    work = recipe("packed", "--", "--prune-target", 0.4, "--prune-end", 300, "--prune-every", 20)
    rewrite("pack", "packed", work / "model")


def make_packed_quantised() -> None:
    rewrite("quantize", "packed_quantised", KEPT / "packed")


def make_shortlist() -> None:
    keep("shortlist", model_files(KEPT / "plain"))
    run(sys.executable, "-m", "s2s_plugin", "shortlist", "--model", KEPT / "shortlist", "--data",
        WORK / "plain" / "data-bin", "--size", 3)  # fmt: skip
    expect("shortlist", colours_to_test())


def make_exported() -> None:
    from s2s_plugin.export.runtime import OnnxTranslator

    rewrite("export", "exported", KEPT / "plain")
    translator, pairs = OnnxTranslator(KEPT / "exported"), colours_to_test()
    found = [translator.translate(source) for source, _ in pairs]
    best = [(one[0].text, one[0].score - one[1].score) for one in found]
    write_expected("exported", [(*pair, *one) for pair, one in zip(pairs, best, strict=True)])


# --- fairseq's commands by themselves ---

OURS = ["--task", "attn_translation", "--criterion", "attn_label_smoothed_cross_entropy"]
THEIRS = ["--task", "translation", "--criterion", "label_smoothed_cross_entropy"]
SIZES = ["--encoder-embed-dim", 8, "--encoder-hidden-size", 6, "--encoder-bidirectional", "--decoder-embed-dim", 8,
         "--decoder-out-embed-dim", 8, "--decoder-hidden-size", 12, "--share-decoder-input-output-embed"]  # fmt: skip


def binarise() -> Path:
    """The colours, a word each."""
    text, data = write_colours(), WORK / "words"
    if not data.exists():
        prefixes = [word for split in ("train", "valid", "test") for word in (f"--{split}pref", text / split)]
        run("fairseq-preprocess", "--source-lang", "en", "--target-lang", "de", "--destdir", data, *prefixes)
    return data


TRAIN = [
    "fairseq-train", "--user-dir", "s2s_plugin", "--cpu", "--num-workers", 0, "--no-epoch-checkpoints", "--dropout", 0,
    "--optimizer", "adam", "--lr", 0.02, "--clip-norm", 1, "--lr-scheduler", "inverse_sqrt", "--warmup-updates", 100,
    "--batch-size", 16, "--label-smoothing", 0, "--max-update", 900,
]  # fmt: skip


def train_twice(*words, folder: Path) -> Path:
    """fairseq-train for one update, and again with its widened weights. Returns the last checkpoint."""
    start, last = (folder / name / "checkpoint_last.pt" for name in ("start", "trained"))
    shutil.rmtree(folder, ignore_errors=True)
    run(*TRAIN, *words, "--save-dir", start.parent, "--max-update", 1, "--lr", START)
    run(*TRAIN, *words, "--save-dir", last.parent, "--finetune-from-model", widen(start))
    return last


def train(name: str, *args) -> Path:
    """On words. Returns the last checkpoint."""
    return train_twice(binarise(), *args, folder=WORK / name)


def make_data() -> None:
    """What fairseq's commands read: of words, the dictionaries and the test's lines."""
    data = binarise()
    keep("data", sorted([*data.glob("dict.*"), *data.glob("test.en-de.*")]))


def strip(checkpoint: Path, folder: Path) -> None:
    """One checkpoint alone, without the optimiser's state."""
    run(sys.executable, "scripts/average_checkpoints.py", "--output", folder / "model.pt", checkpoint)


def add_words(folder: Path, search: str = "--beam 5 --lenpen 1 --max-len-a 2 --max-len-b 10") -> None:
    """Makes a folder of `model.pt` one that `Translator` reads."""
    for lang in ("en", "de"):
        shutil.copy(binarise() / f"dict.{lang}.txt", folder)
    write_lines(folder / "languages", ["src_lang=en", "tgt_lang=de"])
    write_lines(folder / "search", [search])


def make_preset() -> None:
    checkpoint = train("preset", *OURS, "--arch", "attn_rnn_s2s_gnmt", *SIZES, "--attn-dim", 8)
    folder = keep("preset", [])
    strip(checkpoint, folder)
    add_words(folder)
    expect("preset", colours_to_test())


def make_preset_namespace() -> None:
    """The same with its settings in an argparse.Namespace, as fairseq stores those of its own architectures."""
    model = keep("preset_namespace", model_files(KEPT / "preset")) / "model.pt"
    state = torch.load(model, weights_only=False)
    settings = state["cfg"]["model"]
    state["cfg"]["model"] = Namespace(arch=settings["_name"], **settings)
    torch.save(state, model)
    expect("preset_namespace", colours_to_test())


def make_raw() -> None:
    """As fairseq-train leaves it, to resume from: with the optimiser's state, and BLEU of the validation."""
    bleu = ["--eval-bleu", "--eval-bleu-args", '{"beam": 1, "max_len_b": 10}', "--best-checkpoint-metric", "bleu",
            "--maximize-best-checkpoint-metric"]  # fmt: skip
    checkpoint = train("raw", *OURS, "--arch", "attn_rnn_s2s", *SIZES, "--attn-dim", 8, *bleu)
    shutil.copy(checkpoint, keep("raw", []) / "model.pt")
    expect_generated("raw", binarise(), colours_to_test(), "--task", "attn_translation")


def make_transformer() -> None:
    sizes = [f"--{side}-{size}" for side in ("encoder", "decoder") for size in
             ("embed-dim=16", "ffn-embed-dim=16", "layers=1", "attention-heads=2")]  # fmt: skip
    folder = WORK / "transformer"
    run(
        *TRAIN, binarise(), "--save-dir", folder, *THEIRS, "--arch", "transformer", *sizes, "--lr", 0.01,
        "--share-decoder-input-output-embed", "--max-update", 1500,
    )  # fmt: skip
    strip(folder / "checkpoint_last.pt", keep("transformer", []))
    expect_generated("transformer", binarise(), colours_to_test(), "--task", "translation")


def make_old_args() -> None:
    """In the form of fairseq 0.10: one Namespace of all settings, and no `cfg`."""
    checkpoint = train("old_args", *THEIRS, "--arch", "lstm", *SIZES)
    strip(checkpoint, keep("old_args", []))
    state = torch.load(KEPT / "old_args" / "model.pt", weights_only=False)
    settings = vars(state["cfg"]["model"])
    former = {
        "args": Namespace(**{name: value for name, value in settings.items() if name != "_name"}),
        "model": state["model"],
        "optimizer_history": [
            {
                "criterion_name": "LabelSmoothedCrossEntropyCriterion",
                "optimizer_name": "FairseqAdam",
                "lr_scheduler_state": {"best": None},
                "num_updates": state["optimizer_history"][-1]["num_updates"],
            }
        ],
        "extra_state": state["extra_state"],
        "last_optimizer_state": None,
    }
    torch.save(former, KEPT / "old_args" / "model.pt")
    expect_generated("old_args", binarise(), colours_to_test(), "--task", "translation")


# --- other recipes ---


def make_pronunciation() -> None:
    rng, tables, rows = random.Random(6), WORK / "letters", {}
    for split, count in (("train", 400), ("dev", 10)):
        words = ["".join(rng.choices(list(PHONES), k=rng.randint(1, 4))) for _ in range(count)]
        rows[split] = [(word, " ".join(PHONES[letter] for letter in word)) for word in words]
        write_lines(tables / f"toy_{split}.tsv", ["\t".join(row) for row in rows[split]])
    words = [
        "bash", "examples/g2p/run.sh", "--data", tables, "--any-data", "--languages", "toy", "--embed-dim", 8,
        "--hidden-size", 6, "--attn-dim", 8, "--dropout", 0, "--lr", 0.02, "--warmup", 20, "--label-smoothing", 0,
        "--batch-size", 16,
    ]  # fmt: skip
    run(*words, "--work", WORK / "g2p-start", "--epochs", 1, "--lr", START)
    start = widen(WORK / "g2p-start" / "toy" / "seed-1" / "model.pt")
    run(*words, "--work", WORK / "g2p", "--epochs", 25, "--", "--finetune-from-model", start)
    keep("pronunciation", model_files(WORK / "g2p" / "toy" / "seed-1"))
    expect("pronunciation", [(" ".join(word), phones) for word, phones in rows["dev"]])


def make_summaries() -> None:
    """Descriptions in which a name, which is copied, and two known words stand between others."""
    rng, tables, rows = random.Random(7), WORK / "packages", {}
    for split, count in (("train", 500), ("valid", 10)):
        rows[split] = []
        for _ in range(count):
            adjective, noun, other = rng.choice(ADJECTIVES), rng.choice(NOUNS), rng.choice(NOUNS)
            name = rng.choice(list(COLOURS))
            text = f"a {adjective} {noun} for {name}, no {other}"
            rows[split].append((f"{name}-{noun}", f"{name} {noun}", text))
        lines = ["package\tsynopsis\tdescription", *("\t".join(row) for row in rows[split])]
        write_lines(tables / f"{split}.tsv", lines)
    words = [
        "bash", "examples/summarization/run.sh", "--data", tables, "--any-data", "--with-name=0", "--embed-dim", 8,
        "--hidden-size", 6, "--attn-dim", 8, "--dropout", 0, "--max-tokens", 200, "--max-length", 40, "--lr", 0.02,
        "--warmup", 20, "--beam", 4, "--threads", 1, "--device", "cpu", "--compute-dtype", "float32",
        "--label-smoothing", 0, "--max-len-b", 20,
    ]  # fmt: skip
    start, work = WORK / "summarization-start", WORK / "summarization"
    if not (work / "stamps" / "test").exists():
        run(*words, "--work", start, "--joint-vocab", 80, "--epochs", 1, "--lr", START)
        widen(start / "model" / "model.pt")
        run(*words, "--work", work, "--finetune", start / "model", "--epochs", 20)
    keep("summaries", model_files(work / "model"))
    expect("summaries", [(text, synopsis) for _, synopsis, text in rows["valid"]])


TONES = {"one": 400, "two": 900, "three": 1500, "four": 2300}


def write_tones(table: Path, count: int, rng: numpy.random.Generator) -> list[str]:
    """Recordings in which each word is a tone, and their table. Returns the transcripts."""
    import soundfile

    lines, texts = ["id\taudio\ttext"], []
    table.parent.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        drawn = [list(TONES)[word] for word in rng.integers(len(TONES), size=rng.integers(1, 4))]
        drawn = [word for before, word in zip(["", *drawn], drawn, strict=False) if before != word]
        waves = []
        for word in drawn:
            seconds = numpy.arange(int(rng.uniform(0.06, 0.1) * 8000)) / 8000
            waves.append(0.2 * numpy.sin(2 * numpy.pi * TONES[word] * seconds))
        samples = numpy.concatenate(waves)
        name = f"{table.stem}-{number}"
        soundfile.write(table.with_name(f"{name}.wav"), samples + 0.01 * rng.standard_normal(len(samples)), 8000)
        texts.append(" ".join(drawn))
        lines.append(f"{name}\t{name}.wav\t{texts[-1]}")
    write_lines(table, lines)
    return texts


def make_speech() -> None:
    """A model of tones, and in `data` what fairseq-generate reads of the recordings to test."""
    rng, tables, data = numpy.random.default_rng(8), WORK / "tones", WORK / "speech" / "data"
    for split, count in (("train", 300), ("valid", 16), ("test", 10)):
        texts = write_tones(tables / f"{split}.tsv", count, rng)
    files = [word for split in ("train", "valid", "test") for word in (f"--{split}", tables / f"{split}.tsv")]
    run(sys.executable, "scripts/speech/prepare.py", "--output", data, *files, "--units", "word", "--bands", 8)
    checkpoint = train_twice(
        data, "--task", "speech_to_text", "--arch", "attn_rnn_s2t", "--encoder-conv-channels", 2,
        "--encoder-hidden-size", 6, "--encoder-bidirectional", "--decoder-embed-dim", 8, "--decoder-hidden-size", 12,
        "--attn-dim", 8, "--attn-location-filters", 2, "--attn-location-width", 5, "--encoder-ctc", "--ctc-weight", 0.3,
        "--criterion", "attn_label_smoothed_cross_entropy", folder=WORK / "speech" / "checkpoints",
    )  # fmt: skip
    folder = keep("speech", [])
    strip(checkpoint, folder)
    keep_recordings(data, folder / "data")
    expect_generated("speech", data, list(enumerate(texts)), "--task", "speech_to_text")


def keep_recordings(data: Path, output: Path) -> None:
    """The folder `data` with the split `test` alone; FOLDER stands for its own path."""
    sys.path.insert(0, str(ROOT / "scripts" / "speech"))
    from manifest import write_features

    output.mkdir()
    for name in ("dict.txt", "statistics.npz"):
        shutil.copy(data / name, output)
    config = (data / "config.yaml").read_text(encoding="utf-8").replace(str(data), "FOLDER")
    (output / "config.yaml").write_text(config, encoding="utf-8")
    header, *rows = (line.split("\t") for line in (data / "test.tsv").read_text(encoding="utf-8").splitlines())
    with (data / "features.zip").open("rb") as file:
        arrays = []
        for row in rows:
            offset = int(row[1].split(":")[1])
            file.seek(offset)
            arrays.append((f"test/{row[0]}", numpy.load(file)))
    for row, (_, place, _) in zip(rows, write_features(output / "features.zip", arrays), strict=True):
        row[1] = place
    write_lines(output / "test.tsv", ["\t".join(row) for row in (header, *rows)])


MAKERS: list[Callable[[], None]] = [
    make_data, make_plain, make_preset, make_preset_namespace, make_quantised, make_packed, make_packed_quantised,
    make_raw, make_old_args, make_shortlist, make_exported, make_lstm, make_transformer, make_pronunciation,
    make_summaries, make_speech,
]  # fmt: skip


def anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without whose it is and when it was made, so that what is the same stays so."""
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def main() -> None:
    sys.path.insert(0, str(ROOT))
    wanted = sys.argv[1:]
    for maker in MAKERS:
        name = maker.__name__.removeprefix("make_")
        if not wanted or name in wanted:
            maker()
            size = sum(file.stat().st_size for file in (KEPT / name).rglob("*") if file.is_file())
            print(f"{name}: {size:,} bytes", flush=True)
    with tarfile.open(HERE / "models.tar.xz", "w:xz", preset=9) as archive:
        for folder in [KEPT / "data", *(KEPT / path.stem for path in sorted(HERE.glob("*.tsv")))]:
            archive.add(folder, folder.name, filter=anonymous)
    print(f"all: {(HERE / 'models.tar.xz').stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
