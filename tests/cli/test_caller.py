"""A program that imports the package and translates finds everything as it had set it: `process_state` lists what."""

import sys

import pytest

from tests.cli.test_translator import fill_folder
from tests.helpers import run_command

USE = """
import sys
{first}
from tests.process_state import check, state
before = state()
import s2s_plugin
check(before, "import s2s_plugin")
before = state()
translator = s2s_plugin.Translator.load(sys.argv[1])
check(before, "load")
translations = translator.translate(["a b c", "d e", "c b a", ""], beam=2)
check(before, "translate")
assert "torch._dynamo" not in sys.modules  # torch's compiler takes 1.3 s to import
print(len(translations))
"""
FIRST = {
    "nothing": "",
    "fairseq": "import logging; logging.basicConfig(); import fairseq.tasks",
    "settings": """
import logging, multiprocessing, os, random, sentencepiece, torch, warnings
torch.manual_seed(5), random.seed(5), torch.set_grad_enabled(False)
logging.getLogger("fairseq.tasks").setLevel(logging.ERROR)
multiprocessing.set_start_method("spawn")
os.environ["KMP_INIT_AT_FORK"] = "TRUE"
warnings.simplefilter("ignore", FutureWarning)
""",
}


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("caller") / "model"
    fill_folder(folder, model.checkpoint, model.data)
    return folder


def python(program: str, *args):
    done = run_command([sys.executable, "-c", program, *map(str, args)])
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("first", FIRST)
def test_nothing_of_the_caller_changes(folder, first):
    done = python(USE.format(first=FIRST[first]), folder)
    assert (done.stdout, done.stderr) == ("4\n", "")


def test_a_caller_may_still_choose(folder):
    """What can be chosen once: fairseq had chosen before."""
    chosen = """
import s2s_plugin, logging, multiprocessing, sys
multiprocessing.set_start_method("spawn")
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(name)s: %(message)s")
s2s_plugin.Translator.load(sys.argv[1])
"""
    done = python(chosen, folder)
    lines = done.stdout.splitlines()
    assert done.stderr == "" and "fairseq.tasks.translation: [src] dictionary: 16 types" in lines
    assert all(line.startswith("fairseq") for line in lines)
