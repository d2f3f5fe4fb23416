"""One small corpus and one small trained model for all tests of the command line.

The source is random letters, the target the same backwards, each letter as a Chinese word of two characters, so that
sacreBLEU's tokenizers differ on it.
"""

import random
from typing import NamedTuple

import pytest
import torch

from tests.helpers import Output, random_sentences, run_preprocess, run_train, write_parallel

LETTERS = "abcdefghijkl"
WORDS = dict(zip(LETTERS, "天地 山水 日月 风云 春秋 东西 南北 江河 花鸟 草木 金石 牛马".split(), strict=True))
SPLITS = {"train": 300, "valid": 30, "test": 30}


class Model(NamedTuple):
    data: str
    checkpoint: str
    output: Output


def translate(sentence) -> list:
    return [WORDS[letter] for letter in reversed(sentence)]


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """As the commands of their own have: results then agree bit for bit, and the models are small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    """A folder with {train,valid,test}.{src,tgt}."""
    folder = tmp_path_factory.mktemp("text")
    sentences = random_sentences(random.Random(1), LETTERS, sum(SPLITS.values()), 1, 7)
    for split, count in SPLITS.items():
        write_parallel(folder / split, [(sentence, translate(sentence)) for sentence in sentences[:count]])
        del sentences[:count]
    return folder


@pytest.fixture(scope="session")
def data(text, tmp_path_factory):
    """The corpus, preprocessed with a dictionary for each side."""
    return run_preprocess(text, tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def joined_data(text, tmp_path_factory):
    """The corpus, preprocessed with one dictionary for both sides."""
    return run_preprocess(text, tmp_path_factory.mktemp("joined"), "--joined-dictionary")


@pytest.fixture(scope="session")
def model(data, tmp_path_factory):
    """A model that has learned it. Tests must not write into its folder."""
    folder = tmp_path_factory.mktemp("model")
    output = run_train(
        data, folder, "--encoder-bidirectional",
        encoder_hidden_size=32, decoder_hidden_size=48, attn_dim=32, lr=0.01, batch_size=32, max_update=800,
        dropout=0.0, validate_interval=10,
    )  # fmt: skip
    return Model(str(data), str(folder / "checkpoint_last.pt"), output)
