"""Padding, tokenizers and the check of the dictionaries; validation itself runs in tests/cli."""

import pytest
import torch
from fairseq.data import Dictionary
from fairseq.logging import metrics
from sacrebleu.metrics.bleu import BLEU

from s2s_plugin.tasks.attn_translation import (
    AttnTranslationConfig,
    AttnTranslationTask,
    check_tokenizer,
    corpus_bleu_of,
    fingerprint,
)
from tests.models.builders import make_dictionary


def make_task(source=None, target=None, **options):
    return AttnTranslationTask(
        AttnTranslationConfig(**options), source or make_dictionary(8), target or make_dictionary(9, "t")
    )


@pytest.mark.parametrize("left, padded", [(False, [4, 2, 1, 1]), (True, [1, 1, 4, 2])])
def test_interactive_input_is_padded_on_the_side_of_the_option(left, padded):
    task = make_task(left_pad_source=left)
    sentences = [torch.tensor([4, 5, 6, 2]), torch.tensor([4, 2])]
    dataset = task.build_dataset_for_inference(sentences, [4, 2])
    batch = dataset.collater([dataset[0], dataset[1]])
    assert batch["net_input"]["src_tokens"].tolist() == [[4, 5, 6, 2], padded]


def pairs_of(sizes):
    sentences = [torch.tensor([4] * (size - 1) + [2]) for size in sizes]
    return make_task().build_dataset_for_inference(sentences, sizes)


@pytest.mark.parametrize("max_tokens, max_sentences", [(None, 20), (60, None), (None, None)])
def test_no_sentence_is_left_out_of_the_batches(max_tokens, max_sentences):
    """fairseq drops a last batch whose size is no multiple of 8."""
    sizes = [3 + index % 9 for index in range(61)]
    dataset = pairs_of(sizes)
    batches = dataset.batch_by_size(dataset.ordered_indices(), max_tokens, max_sentences, 8)
    assert sorted(index for batch in batches for index in batch) == list(range(61))
    if max_tokens is not None:
        assert all(len(batch) * max(sizes[index] for index in batch) <= max_tokens for batch in batches)


def test_batches_depend_on_the_epoch_and_not_on_where_a_run_began():
    def batches(start, epoch, **options):
        task, dataset = make_task(**options), pairs_of([5] * 40)
        iterator = task.get_batch_iterator(dataset, max_sentences=4, seed=1, epoch=start)
        for _ in range(start, epoch + 1):
            samples = [sample["id"].tolist() for sample in iterator.next_epoch_itr()]
        return samples

    assert batches(1, 3) == batches(3, 3)
    assert sorted(map(sorted, batches(1, 3))) != sorted(map(sorted, batches(1, 2)))
    assert batches(1, 3, rebuild_batches=0) != batches(3, 3, rebuild_batches=0)


@pytest.mark.parametrize("name", [None, "13a", "zh", "char", "intl", "none"])
def test_known_tokenizers(name):
    check_tokenizer(name)


def test_unknown_tokenizer_lists_the_valid_ones():
    with pytest.raises(ValueError, match="--eval-bleu-tokenizer chinese: choose from none, zh, 13a"):
        check_tokenizer("chinese")
    assert {"13a", "zh", "char", "intl", "none"} <= set(BLEU.TOKENIZERS)


def test_a_missing_folder_is_named():
    with pytest.raises(FileNotFoundError, match="no folder /no/such/data: give the --destdir of fairseq-preprocess"):
        AttnTranslationTask.setup_task(AttnTranslationConfig(data="/no/such/data"))


def test_padding_before_the_target_is_refused():
    with pytest.raises(ValueError, match="--left-pad-target would make a translation depend on"):
        AttnTranslationTask.setup_task(AttnTranslationConfig(left_pad_target=True))


def test_a_tokenizer_that_nothing_would_use_is_refused():
    with pytest.raises(ValueError, match="--eval-bleu-tokenizer zh goes with --eval-bleu"):
        AttnTranslationTask.setup_task(AttnTranslationConfig(eval_bleu_tokenizer="zh"))


def test_empty_translations_have_a_bleu_too():
    """A batch of empty translations comes first, then one that is half right."""
    task = make_task(eval_bleu=True)
    criterion = type("Criterion", (), {"reduce_metrics": staticmethod(lambda logs: None)})()

    def log(counts, totals, sys_len):
        numbers = {f"_bleu_counts_{n}": count for n, count in enumerate(counts)}
        numbers |= {f"_bleu_totals_{n}": total for n, total in enumerate(totals)}
        return numbers | {"_bleu_sys_len": sys_len, "_bleu_ref_len": 8, "ntokens": 8, "nsentences": 1}

    with metrics.aggregate(new_root=True) as meters:
        task.reduce_metrics([log([0] * 4, [0] * 4, 0)], criterion)
        assert meters.get_smoothed_values()["bleu"] == 0
        task.reduce_metrics([log([4, 3, 2, 1], [8, 7, 6, 5], 8)], criterion)
        assert meters.get_smoothed_values()["bleu"] == corpus_bleu_of(meters) > 0
    with metrics.aggregate(new_root=True) as meters:
        task.reduce_metrics([{"ntokens": 8, "nsentences": 1}], criterion)
        assert "bleu" not in meters.get_smoothed_values()


def test_contradiction_with_tokenized_bleu_is_refused():
    with pytest.raises(ValueError, match="means --eval-bleu-tokenizer none, but it is zh"):
        AttnTranslationTask.setup_task(
            AttnTranslationConfig(eval_bleu=True, eval_bleu_tokenizer="zh", eval_tokenized_bleu=True)
        )


@pytest.mark.parametrize(
    "options, score",
    [
        ({"eval_bleu_tokenizer": "zh"}, 100.0),
        ({"eval_bleu_tokenizer": "none"}, 0.0),
        ({"eval_tokenized_bleu": True}, 0.0),
        ({}, 0.0),
    ],
)
def test_validation_bleu_uses_the_tokenizer_on_detokenised_text(options, score):
    """Six characters, other pieces: equal to `zh`, which splits characters; one wrong word to the others."""
    dictionary = Dictionary()
    pieces = ["▁今天", "天气", "很好", "▁今", "天天", "气很", "坏", "好"]
    for piece in pieces:
        dictionary.add_symbol(piece)
    task = make_task(target=dictionary, eval_bleu_remove_bpe="sentencepiece", **options)
    task.tokenizer = None

    def tokens(text):
        return torch.tensor([dictionary.index(piece) for piece in text.split()] + [dictionary.eos()])

    if score:
        hypothesis, reference = "▁今 天天 气很 好", "▁今天 天气 很好"
    else:
        hypothesis, reference = "▁今 天天 气很 坏", "▁今天 天气 很好"
    task.inference_step = lambda *args, **kwargs: [[{"tokens": tokens(hypothesis)}]]
    bleu = task._inference_with_bleu(None, {"target": tokens(reference).unsqueeze(0)}, None)
    assert bleu.score == pytest.approx(score)


def test_state_names_the_dictionaries_and_refuses_others():
    task = make_task()
    state = task.state_dict()
    assert state["dictionaries"] == {"source": fingerprint(task.src_dict), "target": fingerprint(task.tgt_dict)}
    make_task().load_state_dict(state)
    make_task().load_state_dict({})  # a checkpoint of the stock task
    make_task().set_checkpoint_dict(task.get_checkpoint_dict()["AttnTranslationTask"])
    other = make_task(target=make_dictionary(9, "u"))
    with pytest.raises(ValueError, match="the target dictionary is not the one"):
        other.load_state_dict(state)
    with pytest.raises(ValueError, match="the target dictionary is not the one"):
        other.set_checkpoint_dict(task.get_checkpoint_dict()["AttnTranslationTask"])
