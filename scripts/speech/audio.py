"""From recordings to frames of features: log-mel filterbanks of files, and what is wrong with a file."""

from pathlib import Path
from typing import NamedTuple

import numpy

LONGEST = 3600
"""Seconds of a recording, at most: a short file can say that it holds any number of samples."""


class Filterbank(NamedTuple):
    """Log-mel filterbank energies as Kaldi computes them, of windows of 25 ms every 10 ms.

    Attributes:
        sample_rate: Hz, that every recording has to have.   bands: F.
    """

    sample_rate: int
    bands: int

    def __call__(self, path: Path) -> numpy.ndarray:
        """The frames (N, F) float32 of a recording, whose channels are averaged.

        Raises:
            ValueError: no file, no audio, another sample rate, samples that are no numbers, too many, or too few for
                a window; the message names it.
        """
        return self.of_samples(read_samples(path, self.sample_rate), path)

    def of_samples(self, samples: numpy.ndarray, name) -> numpy.ndarray:
        """The same of samples (L,) in [-1, 1]; `name` is for the error."""
        import kaldi_native_fbank

        options = kaldi_native_fbank.FbankOptions()
        options.frame_opts.samp_freq = self.sample_rate
        options.frame_opts.dither = 0.0  # the same features every time
        options.mel_opts.num_bins = self.bands
        bank = kaldi_native_fbank.OnlineFbank(options)
        bank.accept_waveform(self.sample_rate, (samples * 2**15).tolist())  # Kaldi's are 16-bit numbers
        bank.input_finished()
        if bank.num_frames_ready == 0:
            raise ValueError(f"{name}: {len(samples)} samples, too few for a window of 25 ms")
        return numpy.stack([bank.get_frame(k) for k in range(bank.num_frames_ready)]).astype(numpy.float32)


def read_samples(path: Path, sample_rate: int) -> numpy.ndarray:
    """Samples (L,) in [-1, 1] of a wav, flac or ogg file. Raises ValueError as `Filterbank` does."""
    import soundfile

    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: the file is empty")
    try:
        with soundfile.SoundFile(path) as file:
            if file.samplerate != sample_rate:
                raise ValueError(f"{path}: {file.samplerate} samples a second, not {sample_rate}")
            if file.frames * file.channels > 2 * LONGEST * sample_rate:
                raise ValueError(f"{path}: longer than {LONGEST:,} seconds in stereo")
            samples = file.read(dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise ValueError(f"{path}: not a recording that can be read ({error})") from None
    if not numpy.isfinite(samples).all():
        raise ValueError(f"{path}: holds samples that are no numbers")
    return samples.mean(axis=1)


def read_sphinx(path: Path, coefficients: int = 13) -> numpy.ndarray:
    """The frames (N, coefficients) of a Sphinx feature file: the count of numbers, then the numbers, big-endian.

    Raises:
        ValueError: no such file, or one of another size than it says.
    """
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    data = path.read_bytes()
    count = int.from_bytes(data[:4], "big") if len(data) >= 4 else -1
    if count <= 0 or len(data) != 4 + 4 * count or count % coefficients:
        raise ValueError(f"{path}: {len(data)} bytes are no Sphinx file of frames of {coefficients} coefficients")
    return numpy.frombuffer(data, dtype=">f4", offset=4).reshape(-1, coefficients).astype(numpy.float32)
