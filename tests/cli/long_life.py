"""python -m tests.cli.long_life FOLDER CALLS FIRST: the memory of a process that translates again and again.

Four threads call one Translator, CALLS times in all: 1 to 32 lines of 1 to 100 words, beams of 1 to 8. Prints a line of
JSON after every FIRST calls: how many, megabytes, seconds, and translations that differ from those of the line alone.
"""

import json
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from s2s_plugin import Translator

LINES, THREADS, BEAMS = 20, 4, 8


def memory() -> float:
    """Megabytes of the process that are in the main memory."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))


def sizes(rng: random.Random, most: int) -> int:
    """From 1 to `most`, small ones as often as large ones by the order of magnitude."""
    return round(most ** rng.random())


def main(folder: str, calls: int, first: int) -> None:
    translator, rng = Translator.load(folder), random.Random(1)
    words = [symbol.strip("\u2581") for symbol in translator.task.source_dictionary.symbols[4:]]
    lines = [" ".join(rng.choices(words, k=sizes(rng, 100))) for _ in range(LINES)]
    lines[:2] = words[0], " ".join(words[k % len(words)] for k in range(100))
    alone = {
        (line, beam): translator.translate([line], beam=beam)[0].text for line in lines for beam in range(1, BEAMS + 1)
    }

    def call(number: int) -> int:
        rng = random.Random(number)
        some, beam = rng.choices(lines, k=sizes(rng, 32)), rng.randint(1, BEAMS)
        found = translator.translate(some, beam=beam)
        return sum(alone[line, beam] != one.text for line, one in zip(some, found, strict=True))

    start, differ = time.monotonic(), 0
    with ThreadPoolExecutor(THREADS) as pool:
        for done in range(first, calls + 1, first):
            differ += sum(pool.map(call, range(done - first, done)))
            seconds = time.monotonic() - start
            print(json.dumps({"calls": done, "mb": memory(), "seconds": seconds, "differ": differ}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
