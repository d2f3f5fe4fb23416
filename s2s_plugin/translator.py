"""A trained model as one call: `Translator.load(folder).translate(["Good morning."], beam=5)`."""

import threading
from argparse import Namespace
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from fairseq import utils
from fairseq.data.data_utils import post_process
from torch import Tensor

from .checkpoints import load_model
from .folder import LANGUAGES, MODEL, SEARCH, SHORTLIST, check_folder, read_languages, read_settings
from .heap import HEAP
from .lines import MOST_CHARACTERS, clean, is_blank
from .modules.precision import check_compute_dtype
from .tasks.best_words import BestWordsGenerator

WITHOUT_VALIDATION = {"eval_bleu": False, "eval_tokenized_bleu": False, "eval_bleu_tokenizer": None}
"""Settings of the task that only a training needs."""

SEARCH_OPTIONS = {
    "beam": (int, 1, 1000),
    "lenpen": (float, 0, 1000),
    "unkpen": (float, -1e9, 1e9),
    "max_len_a": (float, 0, 1000),
    "max_len_b": (int, 0, 1_000_000),
    "min_len": (int, 0, 1_000_000),
    "no_repeat_ngram_size": (int, 0, 1_000_000),
}
"""Those that can be set, as fairseq-generate names them: type, least and largest value."""


class Hypothesis(NamedTuple):
    """One translation of a sentence.

    Attributes:
        text: its pieces put together.
        score: log-probability (natural) over length ** lenpen, by which the search ranks.
        pieces: T - 1, without the end.
        token_scores: T log-probabilities, that of the end last.
        attention: (T, S) weights on the source's pieces and its end, rows sum to 1; None for a model without attention.
    """

    text: str
    score: float
    pieces: list[str]
    token_scores: list[float]
    attention: Tensor | None

    @property
    def alignment(self) -> list[tuple[int, int]]:
        """For each piece the place of the source's piece with the largest weight: pairs (source, target) from 0."""
        if self.attention is None:
            raise ValueError("the model has no attention, so that there is no alignment")
        found = self.attention[: len(self.pieces), :-1]
        return [] if found.numel() == 0 else [(int(s), t) for t, s in enumerate(found.argmax(dim=1))]


class Translation(NamedTuple):
    """What became of a line.

    Attributes:
        source: the line, as it was given.
        source_pieces: S - 1, without the end.
        hypotheses: the best first; none for a blank line, or one that was left out for its length.
        too_long: why it was left out, or an empty string.
    """

    source: str
    source_pieces: list[str]
    hypotheses: list[Hypothesis]
    too_long: str = ""

    @property
    def text(self) -> str:
        """The best translation, or an empty string."""
        return self.hypotheses[0].text if self.hypotheses else ""


class Translator:
    """A model with its dictionaries and sentencepiece model. Calls from several threads take turns.

    Args:
        model, task: of fairseq.
        encoder: a SentencePieceProcessor for the source, or None where words are between spaces.
        search: options of `SEARCH_OPTIONS` that hold where a call says nothing else.
    """

    generator_class = BestWordsGenerator

    def __init__(self, model, task, encoder, search: dict):
        self.model, self.task, self.encoder, self.search = model, task, encoder, check_search(search)
        self.device = next(model.parameters()).device
        self._turn = threading.Lock()
        model.eval()

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        device: str = "cpu",
        compute_dtype: str | None = None,
        shortlist: bool | None = None,
        trust_checkpoint: bool = False,
    ) -> "Translator":
        """Reads the folder `model` of a recipe.

        Args:
            folder: with model.pt, dict.LANG.txt of both languages, LANG.model of the source unless it is of words
                between spaces, `languages`, and perhaps `search`.
            device: `cpu` or `cuda`, perhaps with a number: `cuda:1`.
            compute_dtype: `float32`, `bfloat16` or, on a CPU, `int8`; None: as the model was made.
            shortlist: whether searches go over the candidates in the file `shortlist` alone; None: if it is there.
            trust_checkpoint: load any model that fairseq knows, not only those of text. A file never runs anything.

        Raises:
            FileNotFoundError: no such folder, or a file of it is missing.
            ValueError: `languages` or `search` cannot be read, a file that is not what `SHA256SUMS` says, a link out of
                the folder, unknown compute dtype, or a device that is not there.
            CheckpointError: model.pt is no checkpoint, is broken, or is refused.
        """
        folder = Path(folder)
        for name in (MODEL, LANGUAGES):
            if not (folder / name).is_file():
                raise FileNotFoundError(f"{folder}: there is no {name}; give the folder `model` that a recipe made")
        check_folder(folder)
        src_lang, tgt_lang = read_languages(folder / LANGUAGES)
        for lang in (src_lang, tgt_lang):
            if not (folder / f"dict.{lang}.txt").is_file():
                raise FileNotFoundError(f"{folder}: there is no dict.{lang}.txt for what {folder / LANGUAGES} names")
        search = read_search(folder / SEARCH) if (folder / SEARCH).is_file() else {}
        check_device(device)
        if compute_dtype is not None:
            check_compute_dtype(compute_dtype)
        overrides = {"data": str(folder), "source_lang": src_lang, "target_lang": tgt_lang, **WITHOUT_VALIDATION}
        model, _, task = load_model(folder / MODEL, overrides, trust_checkpoint=trust_checkpoint)
        set_compute_dtype(model, compute_dtype, device)
        if shortlist or (shortlist is None and (folder / SHORTLIST).is_file()):
            task.read_lexicon(folder / SHORTLIST)  # not as the model was trained
        pieces = folder / f"{src_lang}.model"
        encoder = read_pieces(pieces) if pieces.is_file() else None
        return cls(model.to(device), task, encoder, search)

    def translate(
        self,
        lines: Iterable[str],
        *,
        n_best: int = 1,
        max_tokens: int = 4000,
        skip_too_long: bool = False,
        **search,
    ) -> list[Translation]:
        """Translates lines, in batches of similar length.

        A batch changes no translation, but that in bfloat16 and int8 a near tie can fall otherwise.

        Args:
            lines: raw text, one sentence each; a blank one gives a Translation without hypotheses.
            n_best: hypotheses of each, at most the beam.
            max_tokens: source pieces in a batch, padding included.
            skip_too_long: a line of more pieces than `max_tokens` or the task's --max-source-positions, or of more
                than `MOST_CHARACTERS`, gives a Translation without hypotheses.
            **search: of `SEARCH_OPTIONS`.

        Returns:
            One Translation a line, in their order.

        Raises:
            TypeError: `lines` is one string.
            ValueError: an option is unknown or out of its range, or a line too long; nothing was translated then.
        """
        if isinstance(lines, str):
            raise TypeError("lines: a list of strings, not one string")
        search = {**self.search, **check_search(search)}
        beam = search.get("beam", 5)
        if not 1 <= n_best <= beam:
            raise ValueError(f"n_best {n_best}: from 1 to the beam, which is {beam}")
        if max_tokens < 1:
            raise ValueError(f"max_tokens {max_tokens}: must be at least 1")
        lines = list(lines)
        longest = min(max_tokens, self.task.cfg.max_source_positions)
        pieces, too_long = zip(*(self._read(line, longest) for line in lines), strict=True) if lines else ((), ())
        if any(too_long) and not skip_too_long:
            number, reason = next((number, reason) for number, reason in enumerate(too_long, start=1) if reason)
            raise ValueError(f"line {number}: {reason}")
        fit = {k: of_line for k, of_line in enumerate(pieces) if of_line and not too_long[k]}
        found = {}
        if fit:
            with HEAP.used(), self._turn:
                options = Namespace(**{"beam": 5, **search})
                generator = self.task.build_generator([self.model], options, seq_gen_cls=self.generator_class)
                found = self._search(generator, fit, max_tokens, n_best)
        return [Translation(line, pieces[k], found.get(k, []), too_long[k]) for k, line in enumerate(lines)]

    def stream(self, lines: Iterable[str], *, buffer: int = 1000, **options) -> Iterator[Translation]:
        """The same of lines without end: yields a Translation for each, in their order, after every `buffer` of them.

        Args: options as in `translate`, which numbers lines within a buffer.
        """
        lines = iter(lines)
        while taken := list(islice(lines, buffer)):
            yield from self.translate(taken, **options)

    def split(self, line: str) -> list[str]:
        """The pieces of a line, without the end."""
        text = clean(line)
        return text.split() if self.encoder is None else self.encoder.encode(text, out_type=str)

    def _read(self, line: str, longest: int) -> tuple[list[str], str]:
        """The pieces of a line, and why it is too long. Args: longest, more pieces than a line may have."""
        if len(line) > MOST_CHARACTERS and not is_blank(line):
            return [], f"more than {MOST_CHARACTERS} characters"
        pieces = self.split(line)
        return pieces, f"{len(pieces)} pieces and the end, more than {longest}" if len(pieces) >= longest else ""

    def _search(
        self, generator, lines: dict[int, list[str]], max_tokens: int, n_best: int
    ) -> dict[int, list[Hypothesis]]:
        """The best hypotheses of each line. Args: lines, pieces by the line's number."""
        found, numbers = {}, list(lines)
        if not generator.max_len_a:  # else `own_limits` does, for each line
            generator.min_len = min(generator.min_len, generator.max_len_b)  # fairseq would give up
        for batch in self._batches(list(lines.values()), max_tokens):
            for index, hypotheses, columns in self._translate_batch(generator, batch):
                found[numbers[index]] = [self._hypothesis(one, columns) for one in hypotheses[:n_best]]
        return found

    def _batches(self, lines: list[list[str]], max_tokens: int) -> Iterator[dict]:
        """Batches of fairseq, whose `id` are places in `lines`."""
        tokens = [self._ids(pieces) for pieces in lines]
        dataset = self.task.build_dataset_for_inference(tokens, [len(of_line) for of_line in tokens])
        dataset.shuffle = False  # by random numbers that are the caller's
        for batch in dataset.batch_by_size(dataset.ordered_indices(), max_tokens=max_tokens):
            sample = dataset.collater([dataset[index] for index in batch])
            yield utils.move_to_cuda(sample, self.device) if self.device.type == "cuda" else sample

    def _ids(self, pieces: list[str]) -> Tensor:
        """Their places in the dictionary, and the end. What only looks like a special symbol is an unknown word."""
        dictionary = self.task.source_dictionary
        ids = (dictionary.index(piece) for piece in pieces)
        return torch.tensor([k if k >= dictionary.nspecial else dictionary.unk() for k in ids] + [dictionary.eos()])

    def _translate_batch(self, generator, batch: dict) -> Iterator[tuple[int, list[dict], Tensor]]:
        """Yields of each line its `id`, fairseq's hypotheses, and the columns (S,) bool of it, False at padding."""
        with torch.no_grad():
            found = self.task.inference_step(generator, [self.model], batch)
        present = batch["net_input"]["src_tokens"].ne(self.task.source_dictionary.pad()).cpu()
        return zip(batch["id"].tolist(), found, present, strict=True)

    def _hypothesis(self, found: dict, columns: Tensor) -> Hypothesis:
        """Args: found, of fairseq's search; columns (S,) bool, False at padding."""
        dictionary, attn = self.task.target_dictionary, found["attention"]
        pieces = [dictionary[token] for token in found["tokens"].tolist()[:-1]]
        if attn is None or attn.numel() == 0:
            attn = None
        else:
            attn = attn.float().cpu().t()[:, columns]
        text = post_process(" ".join(pieces), "none" if self.encoder is None else "sentencepiece")
        return Hypothesis(text, float(found["score"]), pieces, found["positional_scores"].tolist(), attn)


def check_search(options: dict) -> dict:
    """The options, as numbers. Raises ValueError for one that is unknown, no number, too small or too large."""
    checked = {}
    for name, value in options.items():
        if name not in SEARCH_OPTIONS:
            raise ValueError(f"unknown option {name!r} of the search: choose from {', '.join(SEARCH_OPTIONS)}")
        kind, least, largest = SEARCH_OPTIONS[name]
        number = "a whole number" if kind is int else "a number"
        try:
            checked[name] = kind(value)
            fits = checked[name] == float(value) and least <= checked[name] <= largest
        except (TypeError, ValueError, OverflowError):
            fits = False
        if not fits:
            raise ValueError(f"{name} {value}: must be {number} of at least {least} and at most {largest}")
    return checked


def read_search(path: Path) -> dict:
    """From a line of words such as `--beam 5 --max-len-a 2`. Raises ValueError for anything else."""
    words = read_settings(path).split()
    names = [word.removeprefix("--").replace("-", "_") for word in words[::2]]
    if len(words) % 2 or not all(word.startswith("--") for word in words[::2]):
        raise ValueError(f"{path}: {' '.join(words)!r} are no options with a value each")
    try:
        return check_search(dict(zip(names, words[1::2], strict=True)))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def set_compute_dtype(model, compute_dtype: str | None, device: str) -> None:
    """Changes the arithmetic of a model, if not to None.

    Raises:
        ValueError: the model has no such option, or would compute in eight bits off the CPU.
    """
    parts = [part for part in (model.encoder, model.decoder) if hasattr(part, "compute_dtype")]
    if compute_dtype is not None:
        if not parts:
            raise ValueError(f"compute_dtype {compute_dtype}: the model is none of attn_rnn_s2s")
        for part in parts:
            part.compute_dtype = compute_dtype
    if not device.startswith("cpu") and any(part.compute_dtype == "int8" for part in parts):
        raise ValueError(f"device {device}: eight bits are for CPUs; say float32 or bfloat16 for compute_dtype")


def read_pieces(path: Path):
    """A SentencePieceProcessor. Raises ValueError for a file that is no model of sentencepiece."""
    import sentencepiece

    try:
        encoder = sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes())
        encoder.get_piece_size()  # an empty one is not refused before
        return encoder
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: no model of sentencepiece, or damaged ({' '.join(str(error).split())})") from None


def check_device(device: str) -> None:
    """Raises ValueError for a device that torch does not know or see."""
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise ValueError(f"device {device}: {str(error).splitlines()[0]}") from None
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"device {device}: choose cpu or cuda")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device}: PyTorch sees no GPU here")
