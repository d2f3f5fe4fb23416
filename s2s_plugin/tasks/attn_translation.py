"""fairseq's `translation` with right padding, a choice of sacreBLEU tokenizer, dictionaries that are checked, and
alignments that are right."""

import hashlib
import os
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

import numpy
import sacrebleu
from fairseq import utils
from fairseq.data import Dictionary, LanguagePairDataset
from fairseq.dataclass import ChoiceEnum
from fairseq.logging import metrics
from fairseq.sequence_scorer import SequenceScorer
from fairseq.tasks import register_task
from fairseq.tasks.translation import EVAL_BLEU_ORDER
from omegaconf import DictConfig, open_dict
from sacrebleu.metrics.bleu import BLEU
from torch import Tensor

from .alignments import (
    PIECES,
    SourceTexts,
    align,
    attend_again,
    check_pieces,
    interactive,
    mend_interactive,
    mend_replace_unk,
    merge_words,
    printed,
    word_numbers,
)
from .best_words import BestWordsGenerator, changed
from .links import check_link_file, check_links
from .ngrams import NGramBlocker
from .pruning import PruningConfig, PruningTask
from .shortlist import FIRST, SIZE, Lexicon, check_short_search


@dataclass
class AttnTranslationConfig(PruningConfig):
    left_pad_source: bool = field(default=False, metadata={"help": "pad the source on the left"})
    max_source_positions: int = field(
        default=100000, metadata={"help": "max number of tokens in the source sequence; the model has no limit"}
    )
    rebuild_batches: int = field(
        default=1,
        metadata={
            "help": "1: make the batches of an epoch from the seed and the epoch, so that an interrupted training goes "
            "on with the batches of an unbroken one; 0: keep those of the first epoch that a run sees, as fairseq does"
        },
    )
    eval_bleu_tokenizer: Optional[str] = field(
        default=None,
        metadata={
            "help": "sacreBLEU tokenizer of the validation BLEU: 13a (default), zh, char, intl, none, ...; "
            "with --eval-bleu"
        },
    )
    shortlist: Optional[str] = field(
        default=None,
        metadata={
            "help": "file of `python -m s2s_plugin shortlist`: a search goes over the candidates of a sentence's words "
            "and the most frequent words alone"
        },
    )
    shortlist_size: int = field(default=SIZE, metadata={"help": "candidates of each source word, with --shortlist"})
    shortlist_first: int = field(default=FIRST, metadata={"help": "most frequent target words, with --shortlist"})
    alignment_words: ChoiceEnum(list(PIECES)) = field(
        default="none",
        metadata={
            "help": "--print-alignment between the words that these pieces are parts of: the weight on a source word "
            "is the sum over its pieces, that of a target word the mean; positions are those of --remove-bpe"
        },
    )


class SentencePairs(LanguagePairDataset):
    """fairseq's parallel data, all of it.

    fairseq leaves out the last batch, the one of the longest sentences, when its size is no multiple of
    --required-batch-size-multiple (8).
    """

    @classmethod
    def adopt(cls, dataset: LanguagePairDataset) -> "SentencePairs":
        """fairseq's loader names the class itself, so the object is given this one afterwards."""
        dataset.__class__ = cls
        return dataset

    def batch_by_size(self, indices, max_tokens=None, max_sentences=None, required_batch_size_multiple=1):
        batches = super().batch_by_size(indices, max_tokens, max_sentences, required_batch_size_multiple)
        left_out = indices[sum(len(batch) for batch in batches) :]
        return [*batches, left_out] if len(left_out) > 0 else batches


@register_task("attn_translation", dataclass=AttnTranslationConfig)
class AttnTranslationTask(PruningTask):
    """Translation for `attn_rnn_s2s`. Everything that is not named here is `translation`'s."""

    alignment = None  # what `inference_step` adds: hard, soft or nothing
    lexicon = None
    replaces_unk = False

    @classmethod
    def setup_task(cls, cfg: AttnTranslationConfig, **kwargs):
        """Loads the dictionaries.

        Raises:
            ValueError: unknown or unavailable tokenizer, one that contradicts --eval-tokenized-bleu or that nothing
                uses, --left-pad-target, pieces that are not of one word with --alignment-words, or a pruning that
                cannot be.
            FileNotFoundError: no such folder of data.
        """
        mend_replace_unk()
        check_tokenizer(cfg.eval_bleu_tokenizer)
        if cfg.eval_bleu_tokenizer is not None and not cfg.eval_bleu:
            raise ValueError(f"--eval-bleu-tokenizer {cfg.eval_bleu_tokenizer} goes with --eval-bleu")
        if cfg.eval_tokenized_bleu and cfg.eval_bleu_tokenizer not in (None, "none"):
            raise ValueError(
                f"--eval-tokenized-bleu means --eval-bleu-tokenizer none, but it is {cfg.eval_bleu_tokenizer}"
            )
        if cfg.left_pad_target:
            raise ValueError("--left-pad-target would make a translation depend on what shares its batch: leave it out")
        for path in utils.split_paths(cfg.data)[:1]:
            if not os.path.isdir(path):
                raise FileNotFoundError(f"no folder {path}: give the --destdir of fairseq-preprocess")
        task = super().setup_task(cfg, **kwargs)
        check_pieces((task.source_dictionary, task.target_dictionary), str(cfg.alignment_words))
        if cfg.shortlist:
            task.read_lexicon(cfg.shortlist, cfg.shortlist_size, cfg.shortlist_first)
        return task

    @classmethod
    def load_dictionary(cls, filename):
        """Raises ValueError for a file that is no dictionary; later errors name it by the attribute `path`."""
        try:
            dictionary = super().load_dictionary(filename)
        except OSError:
            raise
        except Exception as error:  # fairseq raises what comes, and a plain Exception for bytes that are no UTF-8
            raise ValueError(f"{filename}: no dictionary, or damaged ({' '.join(str(error).split())[:200]})") from None
        dictionary.path = filename
        return dictionary

    def read_lexicon(self, path: str | Path, size: int = SIZE, first: int = FIRST) -> None:
        """Searches go by a shortlist from now on. Args and errors: as in `Lexicon.read`."""
        self.lexicon = Lexicon.read(path, self.source_dictionary, self.target_dictionary, size, first)

    def load_dataset(self, split, epoch=1, combine=False, **kwargs):
        """Raises ValueError or FileNotFoundError for --load-alignments without links; see `links.py`."""
        training, paths = split == self.cfg.train_subset, utils.split_paths(self.cfg.data)
        path = paths[(epoch - 1) % len(paths)] if training else paths[0]  # as fairseq takes them
        links = Path(path) / f"{split}.align.{self.cfg.source_lang}-{self.cfg.target_lang}"
        if self.cfg.load_alignments:
            check_link_file(links, self.cfg.dataset_impl)
        super().load_dataset(split, epoch, combine, **kwargs)
        self.datasets[split] = SentencePairs.adopt(self.datasets[split])
        if self.cfg.load_alignments:
            check_links(self.datasets[split], links, training)

    def build_dataset_for_inference(self, src_tokens, src_lengths, constraints=None):
        return SentencePairs(
            src_tokens,
            src_lengths,
            self.source_dictionary,
            tgt_dict=self.target_dictionary,
            left_pad_source=self.cfg.left_pad_source,
            left_pad_target=self.cfg.left_pad_target,
            constraints=constraints,
        )

    def build_generator(self, models, args, seq_gen_cls=None, extra_gen_cls_kwargs=None, **kwargs):
        """fairseq's search, over the best words alone where that is the same.

        What --print-alignment and --replace-unk need is added in `inference_step`.

        Raises:
            ValueError: --replace-unk with --alignment-words.
        """
        kind = getattr(args, "print_alignment", None)
        self.replaces_unk = getattr(args, "replace_unk", None) is not None
        if self.replaces_unk and str(self.cfg.alignment_words) != "none":
            pieces = f"--alignment-words {self.cfg.alignment_words}"
            raise ValueError(f"--replace-unk is for models of whole words, and {pieces} for pieces")
        self.alignment = str(kind or "hard") if kind or self.replaces_unk else None
        if seq_gen_cls is None:  # nor fairseq's with alignments of its own
            seq_gen_cls = BestWordsGenerator
        if self.alignment and interactive() is not None:
            mend_interactive(interactive())
        if self.replaces_unk and not self.datasets:  # fairseq-interactive; fairseq-generate has the text, or refuses
            SourceTexts(self.source_dictionary)
        generator = super().build_generator(models, args, seq_gen_cls, extra_gen_cls_kwargs, **kwargs)
        if getattr(generator, "repeat_ngram_blocker", None) is not None:
            generator.repeat_ngram_blocker = NGramBlocker(args.no_repeat_ngram_size)
        return generator

    def inference_step(self, generator, models, sample, prefix_tokens=None, constraints=None):
        # fairseq's diverse beam search takes `id`, the places in the corpus, for rows of the batch.
        without_id = {name: value for name, value in sample.items() if name != "id"}
        if self.lexicon is None:
            found = super().inference_step(generator, models, without_id, prefix_tokens, constraints)
        else:
            check_short_search(generator, models, prefix_tokens, constraints)
            shortlist = self.lexicon.of_batch(sample["net_input"]["src_tokens"])
            short = changed(generator, vocab_size=len(shortlist.ids))  # the special symbols keep their places
            net_input = dict(sample["net_input"], shortlist=shortlist)
            found = super().inference_step(short, models, dict(without_id, net_input=net_input))
            for hypothesis in (one for of_line in found for one in of_line):
                hypothesis["tokens"] = shortlist.ids[hypothesis["tokens"]]
        if self.alignment:
            pair_rows = "id" not in sample and interactive() is not None
            searches = not isinstance(generator, SequenceScorer)
            for row, hypotheses in enumerate(found):
                source = sample["net_input"]["src_tokens"][row]
                if searches and prefix_tokens is not None and prefix_tokens[row].eq(self.target_dictionary.eos()).any():
                    attend_again(hypotheses, source, models, self.target_dictionary)
                for hypothesis in hypotheses:
                    weights = self._weights_of(hypothesis, source.cpu(), generator)
                    hypothesis["alignment"] = align(weights, self.alignment, pair_rows)
        return found

    def _weights_of(self, hypothesis: dict, source: Tensor, generator) -> Tensor:
        """Attention weights (T, S) of a hypothesis, of words if --alignment-words, without padding.

        Args:
            source: of the batch, with padding on either side.
        """
        attn, tokens = hypothesis["attention"], hypothesis["tokens"].tolist()
        if attn is None or attn.numel() == 0:
            raise ValueError("--print-alignment and --replace-unk go by the attention, and the model has none")
        unprinted = {*getattr(generator, "symbols_to_strip_from_output", [self.target_dictionary.eos()])}
        rows = printed(tokens, unprinted | {self.target_dictionary.bos()})
        columns = source.ne(self.source_dictionary.pad()).nonzero().flatten()
        if not self.replaces_unk:  # whose source text has the symbols that are not printed
            ids = source[columns].tolist()
            columns = columns[printed(ids, {self.source_dictionary.eos(), self.source_dictionary.bos()})]
        attn = (attn if isinstance(generator, SequenceScorer) else attn.t()).float().cpu()[rows][:, columns]
        attn = attn / attn.sum(dim=1, keepdim=True)  # in the mean of an ensemble are models without attention, too
        pieces = str(self.cfg.alignment_words)
        if pieces == "none":
            return attn
        target = [self.target_dictionary[tokens[t]] for t in rows[:-1]]
        of_source = [self.source_dictionary[index] for index in source[columns].tolist()[:-1]]
        return merge_words(attn, word_numbers(target, pieces), word_numbers(of_source, pieces))

    def build_criterion(self, cfg, from_checkpoint=False):
        """Options of a checkpoint that are no more are left out, as fairseq-validate does not do by itself."""
        return super().build_criterion(cfg, from_checkpoint=True)

    def build_model(self, cfg, from_checkpoint=False):
        if from_checkpoint and hasattr(cfg, "encoder_embed_path"):
            # The checkpoint holds the embeddings; the files that training started from may be gone.
            with open_dict(cfg) if isinstance(cfg, DictConfig) else nullcontext():
                cfg.encoder_embed_path = cfg.decoder_embed_path = None
        return super().build_model(cfg, from_checkpoint)

    def reduce_metrics(self, logging_outputs, criterion):
        """fairseq logs no BLEU while all translations are empty, and then fails to find the best checkpoint by it."""
        super().reduce_metrics(logging_outputs, criterion)
        validated = [log for log in logging_outputs if "_bleu_totals_0" in log]
        if validated and not any(log["_bleu_totals_0"] for log in validated):
            metrics.log_scalar("_bleu_counts", numpy.zeros(EVAL_BLEU_ORDER))
            metrics.log_scalar("_bleu_totals", numpy.zeros(EVAL_BLEU_ORDER))
            metrics.log_scalar("_bleu_sys_len", 0)
            metrics.log_scalar("_bleu_ref_len", sum(log["_bleu_ref_len"] for log in validated))
            metrics.log_derived("bleu", corpus_bleu_of)

    def _inference_with_bleu(self, generator, sample, model):
        """BLEU statistics of one batch, detokenised; the hook that `translation` calls in validation."""
        hypotheses = self.inference_step(generator, [model], sample, prefix_tokens=None)
        hyps = [self._detokenise(best[0]["tokens"], "UNKNOWNTOKENINHYP") for best in hypotheses]
        # An unknown word in the reference is none that a hypothesis could match.
        refs = [
            self._detokenise(utils.strip_pad(target, self.tgt_dict.pad()), "UNKNOWNTOKENINREF")
            for target in sample["target"]
        ]
        if self.cfg.eval_bleu_print_samples:
            print(f"example hypothesis: {hyps[0]}\nexample reference:  {refs[0]}", flush=True)
        tokenizer = "none" if self.cfg.eval_tokenized_bleu else self.cfg.eval_bleu_tokenizer or "13a"
        return sacrebleu.corpus_bleu(hyps, [refs], tokenize=tokenizer)

    def _detokenise(self, tokens, unknown: str) -> str:
        text = self.tgt_dict.string(tokens.int().cpu(), self.cfg.eval_bleu_remove_bpe, unk_string=unknown)
        return self.tokenizer.decode(text) if self.tokenizer else text

    def dictionary_fingerprints(self) -> dict:
        """A hash of the symbols of each dictionary, in order: it goes into checkpoints."""
        return {"source": fingerprint(self.source_dictionary), "target": fingerprint(self.target_dictionary)}

    def state_dict(self) -> dict:
        return dict(super().state_dict(), dictionaries=self.dictionary_fingerprints())

    def load_state_dict(self, state_dict) -> None:
        """Called by fairseq-generate and fairseq-interactive. Raises ValueError for other dictionaries."""
        state_dict = dict(state_dict)
        self.check_dictionaries(state_dict.pop("dictionaries", None))
        super().load_state_dict(state_dict)

    def get_checkpoint_dict(self) -> dict:
        """What fairseq-train stores; it hands the entry under the class's name to `set_checkpoint_dict` on resuming."""
        return {type(self).__name__: {"dictionaries": self.dictionary_fingerprints()}}

    def set_checkpoint_dict(self, checkpoint_dict) -> None:
        """Called by fairseq-train when it resumes. Raises ValueError for other dictionaries."""
        self.check_dictionaries(checkpoint_dict.get("dictionaries"))

    def check_dictionaries(self, trained) -> None:
        """Raises ValueError unless the fingerprints of training are those of the present dictionaries."""
        if trained is None:
            return
        for side, present in self.dictionary_fingerprints().items():
            if trained.get(side) != present:
                path = getattr(getattr(self, f"{side}_dictionary"), "path", "what is given")
                raise ValueError(
                    f"the {side} dictionary is not the one that the checkpoint was trained with (same size or not, its "
                    f"symbols differ): use the dict.*.txt of its training for {path}, or train anew in another "
                    f"--save-dir"
                )


def corpus_bleu_of(meters) -> float:
    """BLEU from the counts of all batches, rounded as fairseq does."""
    score = BLEU.compute_bleu(
        correct=meters["_bleu_counts"].sum,
        total=meters["_bleu_totals"].sum,
        sys_len=int(meters["_bleu_sys_len"].sum),
        ref_len=int(meters["_bleu_ref_len"].sum),
        smooth_method="exp",
    )
    return round(score.score, 2)


def check_tokenizer(name: Optional[str]) -> None:
    """Raises ValueError unless sacreBLEU can tokenise by `name` here; None means its default."""
    if name is None:
        return
    if name not in BLEU.TOKENIZERS:
        raise ValueError(f"--eval-bleu-tokenizer {name}: choose from {', '.join(BLEU.TOKENIZERS)}")
    try:
        BLEU(tokenize=name)
    except (ImportError, RuntimeError) as error:
        raise ValueError(f"--eval-bleu-tokenizer {name} cannot be used here: {error}") from error


def fingerprint(dictionary: Dictionary) -> str:
    """SHA-256 of a dictionary's symbols in order, in hexadecimal digits."""
    return hashlib.sha256("\n".join(dictionary.symbols).encode()).hexdigest()
