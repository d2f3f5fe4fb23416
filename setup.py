import re
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
# Read as text: importing the package needs torch and fairseq, which are not there yet.
version = re.search(r'^__version__ = "(.+)"', (here / "s2s_plugin" / "__init__.py").read_text(), re.M).group(1)
readme = here / "README.md"

TEST = ["pytest>=8", "pytest-xdist>=3.8,<4", "matplotlib>=3.8", "rouge-score>=0.1.2", "editdistance>=0.8"]
SPEECH = ["kaldi-native-fbank>=1.20", "soundfile>=0.12"]
EXPORT = ["onnxruntime>=1.32,<2", "onnxscript>=0.7,<0.8"]

setup(
    name="s2s_plugin",
    version=version,
    description="RNN encoder-decoders with additive attention, as a fairseq --user-dir plugin",
    long_description=readme.read_text(encoding="utf-8") if readme.exists() else "",
    long_description_content_type="text/markdown",
    license="MIT",
    packages=find_packages(include=["s2s_plugin", "s2s_plugin.*"]),
    package_data={"s2s_plugin": ["ops/README.md"]},
    python_requires=">=3.11,<3.13",
    install_requires=[
        "torch>=2.6,<2.14",
        # The fairseq that imports on Python 3.11 and 3.12; its module is called `fairseq`.
        "ve-fairseq==0.12.3.*",
        "sacrebleu>=2.3,<3",
        "sentencepiece>=0.2,<0.3",
    ],
    extras_require={
        "test": [*TEST, *SPEECH, *EXPORT],
        "plots": ["matplotlib>=3.8"],
        "summarization": ["rouge-score>=0.1.2"],
        "speech": ["editdistance>=0.8", *SPEECH],  # the first for fairseq-generate --scoring wer
        "export": EXPORT,
    },
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
