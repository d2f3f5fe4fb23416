"""The search over the best words against fairseq's over all words."""

from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from fairseq.sequence_generator import SequenceGenerator

from s2s_plugin.models import decoder as decoder_module
from s2s_plugin.models import short_output
from s2s_plugin.models.encoder import Shortlist
from s2s_plugin.models.short_output import ShortOutput
from s2s_plugin.tasks.attn_translation import AttnTranslationConfig, AttnTranslationTask
from s2s_plugin.tasks.best_words import BestWords, BestWordsGenerator
from s2s_plugin.tasks.shortlist import Lexicon
from tests.models.builders import make_dictionary, make_model

SOURCE, TARGET = make_dictionary(12, "s"), make_dictionary(700, "t")
LINES = [[5, 6, 7], [9], [4, 12, 13, 4, 8, 8, 5], [14, 15, 15]]


def make_task(tmp_path, target=TARGET) -> AttnTranslationTask:
    return AttnTranslationTask(AttnTranslationConfig(data=str(tmp_path)), SOURCE, target)


def sharp_model(task, **options):
    """A model that is sure of its words, ends soon, and has no two words of one probability."""
    torch.manual_seed(7)
    model = make_model(task, **options)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(6)
        if model.decoder.output_projection is not None:
            model.decoder.output_projection.bias[task.target_dictionary.eos()] -= 1
    return model


def make_batch(lines=LINES) -> dict:
    longest = max(map(len, lines)) + 1
    tokens = [[*line, SOURCE.eos()] + [SOURCE.pad()] * (longest - 1 - len(line)) for line in lines]
    return {"net_input": {"src_tokens": torch.tensor(tokens), "src_lengths": torch.tensor([len(x) + 1 for x in lines])}}


def make_lexicon() -> Lexicon:
    """40 words of its own for each source word, and the first ten."""
    table = torch.arange(4, 4 + 40 * len(SOURCE)).view(len(SOURCE), 40)
    return Lexicon(table, TARGET.nspecial + 10, len(TARGET))


def search(task, models, kind, **options) -> list:
    """Tokens, scores, attention of all hypotheses, and whether all words were seen."""
    generator = task.build_generator(models, Namespace(**{"max_len_b": 15, **options}), seq_gen_cls=kind)
    asked = []
    former = BestWords.forward_decoder

    def counted(self, *args):
        asked.append(self.count)
        return former(self, *args)

    BestWords.forward_decoder = counted
    try:
        found = task.inference_step(generator, models, make_batch())
    finally:
        BestWords.forward_decoder = former
    return [one for of_line in found for one in of_line], not asked


def assert_same(found: list, expected: list, widths: bool = True) -> None:
    """Args: widths, whether the attention has the same padding."""
    assert [one["tokens"].tolist() for one in found] == [one["tokens"].tolist() for one in expected]
    assert len({tuple(one["tokens"].tolist()) for one in found}) > 2
    for name in ("score", "positional_scores", "attention"):
        for one, other in zip(found, expected, strict=True):
            value = one[name] if widths or name != "attention" else one[name][: len(other[name])]
            torch.testing.assert_close(value, other[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"beam": 1},
        {"beam": 5},
        {"beam": 12, "lenpen": 0.3},
        {"beam": 3, "unkpen": -9.0},
        {"beam": 3, "unkpen": 2.0, "temperature": 1.7},
        {"beam": 4, "min_len": 6},
        {"beam": 4, "max_len_a": 0, "max_len_b": 2},
        {"beam": 2, "print_alignment": "hard"},
    ],
    ids=str,
)
@pytest.mark.parametrize("at_once", [2**19, 3 * 704], ids=["whole", "in parts"])
def test_it_finds_what_fairseq_finds(tmp_path, monkeypatch, options, at_once):
    monkeypatch.setattr(decoder_module, "_AT_ONCE", at_once)
    monkeypatch.setattr(decoder_module, "_FEWEST_ROWS", 1)
    task = make_task(tmp_path)
    model = sharp_model(task)
    expected, all_words = search(task, [model], SequenceGenerator, **options)
    assert all_words
    found, all_words = search(task, [model], None, **options)
    assert not all_words
    assert_same(found, expected)


@pytest.mark.parametrize("copying", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {"max_len_a": 1, "max_len_b": 1},
        {"max_len_a": 1.5, "max_len_b": 0, "min_len": 6, "lenpen": -1.0},
        {"max_len_a": 1, "max_len_b": 0, "min_len": 3, "beam": 1},
        {"max_len_a": 2, "max_len_b": 0, "min_len": 2, "diverse_beam_groups": 2, "diverse_beam_strength": 0.5},
    ],
    ids=str,
)
def test_the_longest_translation_of_a_line_is_that_of_the_line_alone(tmp_path, options, copying):
    task = make_task(tmp_path, SOURCE if copying else TARGET)
    model = sharp_model(task, **({"copy_attn": True} if copying else {}))
    options = {"beam": 4, **options}
    together, _ = search(task, [model], None, **options)
    alone, by_fairseq = [], []
    for line in LINES:
        batch, own = make_batch([line]), dict(options)
        longest = int(options["max_len_a"] * (len(line) + 1) + options["max_len_b"])
        own["min_len"] = min(options.get("min_len", 1), longest)
        for kind, found, how in ((None, alone, options), (SequenceGenerator, by_fairseq, own)):
            generator = task.build_generator([model], Namespace(**how), seq_gen_cls=kind)
            found.extend(task.inference_step(generator, [model], batch)[0])
        assert all(len(one["tokens"]) <= longest + 1 for one in alone[-options["beam"] :])
    assert_same(together, alone, widths=False)
    assert_same(together, by_fairseq, widths=False)


def test_a_given_beginning_is_not_cut(tmp_path):
    task = make_task(tmp_path)
    model = sharp_model(task)
    generator = task.build_generator([model], Namespace(beam=3, max_len_a=1, max_len_b=0, min_len=4))
    prefix = torch.tensor([[400, 401, 402]] * 4)
    found = task.inference_step(generator, [model], make_batch(), prefix_tokens=prefix)
    assert all(one["tokens"].tolist()[:3] == [400, 401, 402] for of_line in found for one in of_line)
    for of_line, line in zip(found, LINES, strict=True):
        assert max(len(one["tokens"]) - 1 for one in of_line) <= max(3, 1 + len(line))


@pytest.mark.parametrize("compute_dtype", ["bfloat16", "int8"])
@pytest.mark.filterwarnings("ignore:--compute-dtype")
def test_in_other_arithmetics(tmp_path, compute_dtype):
    task = make_task(tmp_path)
    model = sharp_model(task, compute_dtype=compute_dtype)
    expected, _ = search(task, [model], SequenceGenerator, beam=5)
    found, all_words = search(task, [model], None, beam=5)
    assert not all_words
    if compute_dtype == "int8":
        assert_same(found, expected)
    else:  # two words can have one logit, and either is right
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one["score"], other["score"], rtol=0.02, atol=0)


@pytest.mark.parametrize("options", [{}, {"decoder_embed_dim": 7, "share_decoder_input_output_embed": True}], ids=str)
def test_a_vocabulary_smaller_than_the_beam(tmp_path, options):
    task = make_task(tmp_path, make_dictionary(3, "t"))
    model = sharp_model(task, **options)
    expected, _ = search(task, [model], SequenceGenerator, beam=5)
    found, all_words = search(task, [model], None, beam=5)
    assert not all_words
    assert_same(found, expected)


@pytest.mark.parametrize("together, width", [(1, 1), (3, 64), (32, 256)])
@pytest.mark.parametrize("compute_dtype", ["float32", "int8"])
@pytest.mark.parametrize("at_once", [2**19, 3 * 704], ids=["whole", "in parts"])
@pytest.mark.filterwarnings("ignore:--compute-dtype")
def test_over_a_shortlist(tmp_path, monkeypatch, together, width, compute_dtype, at_once):
    monkeypatch.setattr(short_output, "_TOGETHER", together)
    monkeypatch.setattr(short_output, "_WIDTH", width)
    monkeypatch.setattr(decoder_module, "_AT_ONCE", at_once)
    monkeypatch.setattr(decoder_module, "_FEWEST_ROWS", 1)
    task = make_task(tmp_path)
    model = sharp_model(task, compute_dtype=compute_dtype)
    task.lexicon = make_lexicon()
    expected, _ = search(task, [model], SequenceGenerator, beam=5)
    found, all_words = search(task, [model], None, beam=5)
    assert not all_words
    assert_same(found, expected)
    allowed = task.lexicon.of_batch(make_batch()["net_input"]["src_tokens"])
    words = [set(allowed.ids[row].tolist()) for row in allowed.allowed]
    for place, one in enumerate(found):
        assert set(one["tokens"].tolist()) <= words[place // 5]


def test_a_shortlist_smaller_than_the_beam(tmp_path, monkeypatch):
    monkeypatch.setattr(short_output, "_TOGETHER", 1)
    task = make_task(tmp_path)
    model = sharp_model(task)
    task.lexicon = Lexicon(make_lexicon().table[:, :1], TARGET.nspecial + 1, len(TARGET))
    expected, _ = search(task, [model], SequenceGenerator, beam=7)
    found, all_words = search(task, [model], None, beam=7)
    assert not all_words
    assert_same(found, expected)


def test_rows_of_a_shortlist_in_any_order(monkeypatch):
    monkeypatch.setattr(short_output, "_TOGETHER", 2)
    monkeypatch.setattr(short_output, "_WIDTH", 4)
    torch.manual_seed(3)
    allowed = torch.rand(5, 23) < 0.3
    rows = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    shortlist = Shortlist(torch.arange(23) * 2, allowed[rows])
    output = ShortOutput(lambda columns: ("projection", columns), shortlist, rows, 3)
    for order in (rows, torch.tensor([4, 3, 3, 0, 2, 2, 4, 1]), torch.tensor([2])):
        parts = output.of_rows(order)
        assert [row for part in parts for row in range(len(order))[part.rows]] == list(range(len(order)))
        for part in parts:
            assert part.columns[:3].tolist() == [0, 1, 2] and part.projection[1] is part.columns
            assert len(part.columns) % 4 == 0 or len(part.columns) == 23
            seen = torch.zeros(part.forbidden.size(0), 23, dtype=torch.bool)
            seen[:, part.columns] = ~part.forbidden
            assert torch.equal(seen, allowed[order[part.rows]])
        assert output.of_rows(order) is parts


@pytest.mark.parametrize(
    "model_options, options, count",
    [
        ({}, {"no_repeat_ngram_size": 2}, 1),
        ({}, {"diverse_beam_groups": 2, "beam": 4}, 1),
        ({}, {"match_source_len": True}, 1),
        ({}, {}, 2),
        ({"adaptive_softmax_cutoff": "300"}, {}, 1),
    ],
    ids=str,
)
def test_what_looks_at_all_words_sees_them(tmp_path, model_options, options, count):
    task = make_task(tmp_path)
    models = [sharp_model(task, **model_options) for _ in range(count)]
    options = {"beam": 3, **options}
    expected, _ = search(task, models, SequenceGenerator, **options)
    found, all_words = search(task, models, None, **options)
    assert all_words
    assert_same(found, expected)


def test_prefixes_are_kept(tmp_path):
    task = make_task(tmp_path)
    model = sharp_model(task)
    generator = task.build_generator([model], Namespace(beam=3, max_len_b=15))
    assert isinstance(generator, BestWordsGenerator)
    prefix = torch.tensor([[400], [401], [402], [403]])
    found = task.inference_step(generator, [model], make_batch(), prefix_tokens=prefix)
    assert [of_line[0]["tokens"][0].item() for of_line in found] == [400, 401, 402, 403]


def test_a_search_that_fails_leaves_the_generator_as_it_was(tmp_path):
    task = make_task(tmp_path)
    model = sharp_model(task)
    generator = task.build_generator([model], Namespace(beam=3, max_len_b=2, min_len=9))
    former = generator.model, generator.search, generator.vocab_size
    with pytest.raises(AssertionError, match="min_len"):
        task.inference_step(generator, [model], make_batch())
    assert (generator.model, generator.search, generator.vocab_size) == former


def test_a_vocabulary_of_special_symbols_alone(tmp_path):
    task = make_task(tmp_path, make_dictionary(0, "t"))
    found, all_words = search(task, [sharp_model(task)], None, beam=2)
    assert all_words and found


@pytest.mark.parametrize("lexicon", [None, make_lexicon()], ids=["all words", "shortlist"])
@pytest.mark.parametrize("options", [{}, {"no_repeat_ngram_size": 2}], ids=str)
def test_a_search_leaves_the_generator_as_it_is(tmp_path, monkeypatch, lexicon, options):
    """Another thread may begin a search with it at any step."""
    task = make_task(tmp_path)
    task.lexicon = lexicon
    model = sharp_model(task)
    generator = task.build_generator([model], Namespace(beam=3, max_len_b=15, **options))
    seen, former = [], (generator.model, generator.search, generator.vocab_size)
    forward = model.decoder.forward

    def watched(*args, **kwargs):
        seen.append((generator.model, generator.search, generator.vocab_size))
        return forward(*args, **kwargs)

    monkeypatch.setattr(model.decoder, "forward", watched)
    task.inference_step(generator, [model], make_batch())
    assert len(seen) > 2 and set(seen) == {former}


@pytest.mark.parametrize("lexicon", [None, make_lexicon()], ids=["all words", "shortlist"])
def test_threads_can_share_a_generator(tmp_path, lexicon):
    task = make_task(tmp_path)
    task.lexicon = lexicon
    model = sharp_model(task)
    generator = task.build_generator([model], Namespace(beam=3, max_len_b=15))

    def tokens(line: list[int]) -> list:
        batch = {"net_input": {"src_tokens": torch.tensor([[*line, SOURCE.eos()]]), "src_lengths": None}}
        batch["net_input"]["src_lengths"] = torch.tensor([len(line) + 1])
        return [one["tokens"].tolist() for one in task.inference_step(generator, [model], batch)[0]]

    lines = LINES * 4
    expected = [tokens(line) for line in lines]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(tokens, lines)) == expected
