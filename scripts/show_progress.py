"""Runs a command, keeps all it prints in a log file, and shows only what people want to see.

usage: show_progress.py --log FILE [--epochs N] -- COMMAND [ARGUMENT ...]

With --epochs the command is a fairseq-train with `--log-format json`: one line an epoch, and on a terminal a bar for
the epoch under way. When the command fails, the error it died of is shown; the exit status is the command's.
"""

import argparse
import collections
import contextlib
import ctypes
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO

# 2026-01-31 12:00:00 | INFO | train_inner | {"epoch": 1, "update": 0.5, ...}
RECORD = re.compile(r"^[\d-]+ [\d:]+ \| \w+ \| (train_inner|train|valid) \| (\{.*\})$")
STAMPED = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \|")
# The last line of a traceback, or what a command line parser says before it gives up.
ERROR = re.compile(r"^([\w.]*(Error|Exception|Interrupt|Exit)\b|([\w.-]+: )?error: )")
FAILED_PROCESS = re.compile(r"^error: rank (\d+) of ")


class TrainingView:
    """Turns fairseq's JSON records into text: `bar` for the epoch under way, `epoch_line` for a finished one."""

    def __init__(self, epochs: int, clock=time.monotonic):
        self.epochs = epochs
        self.clock = clock
        self.begun = clock()  # the command, start-up included
        self.started = self.begun  # the first update that was reported, for the estimate
        self.first_update = None
        self.valid = {}
        self.bar = ""

    def feed(self, line: str) -> str | None:
        """Takes one line of the log; returns the line to print when an epoch is complete."""
        match = RECORD.match(line.rstrip("\n"))
        if match is None:
            return None
        try:
            kind, record = match.group(1), json.loads(match.group(2))
        except json.JSONDecodeError:
            return None
        if kind == "train_inner":
            self._draw(record)
        elif kind == "valid":
            self.valid = record
        elif kind == "train":
            return self._epoch_line(record)
        return None

    def _draw(self, record: dict) -> None:
        done = float(record["update"])  # in epochs
        if self.first_update is None:
            self.first_update, self.started = done, self.clock()
        elapsed, advanced = self.clock() - self.started, done - self.first_update
        left = f", {duration(elapsed / advanced * (self.epochs - done))} left" if advanced > 0 else ""
        part = min(max(done - record["epoch"] + 1, 0.0), 1.0)
        filled = round(20 * part)
        self.bar = (
            f"  epoch {record['epoch']}/{self.epochs} [{'#' * filled}{'.' * (20 - filled)}] {part:4.0%}  "
            f"loss {number(record, 'loss')}  {speed(record, 'wps')}  {duration(self.clock() - self.begun)}{left}"
        )

    def _epoch_line(self, record: dict) -> str:
        parts = [f"  epoch {record['epoch']:>2}/{self.epochs}", f"train loss {number(record, 'train_loss')}"]
        if self.valid:
            parts.append(f"valid loss {number(self.valid, 'valid_loss')}")
            parts.append(f"ppl {number(self.valid, 'valid_ppl')}")
        if "valid_bleu" in self.valid:
            parts.append(f"BLEU {number(self.valid, 'valid_bleu')}")
        if "train_sparsity" in record:
            parts.append(f"sparsity {number(record, 'train_sparsity')}")
        parts += [speed(record, "train_wps"), duration(self.clock() - self.begun)]
        self.bar, self.valid = "", {}
        return "  ".join(parts)


def number(record: dict, key: str) -> str:
    try:
        return f"{float(record[key]):.2f}"
    except (KeyError, TypeError, ValueError):
        return "?"


def speed(record: dict, key: str) -> str:
    try:
        return f"{float(record[key]):,.0f} tokens/s"
    except (KeyError, TypeError, ValueError):
        return "? tokens/s"


def duration(seconds: float) -> str:
    seconds = max(0, round(seconds))
    hours, minutes = seconds // 3600, seconds // 60 % 60
    return f"{hours}:{minutes:02}:{seconds % 60:02}" if hours else f"{minutes}:{seconds % 60:02}"


def last_error(lines: Iterable[str]) -> list[str]:
    """What a command died of: the last error message in its log, or its last lines if none looks like one."""
    lines = [line.rstrip() for line in lines]
    # launch_processes.py says which process was the first to fail; the others only fail for want of it.
    first = FAILED_PROCESS.match(lines[-1]) if lines else None
    if first:
        prefix = f"[rank{first.group(1)}]: "
        own = [line.removeprefix(prefix) for line in lines if line.startswith(prefix)]
        own = own or [line for line in lines[:-1] if line.startswith("error: ")]
        return (last_error(own) if own else []) + lines[-1:]
    starts = [index for index, line in enumerate(lines) if ERROR.match(line)]
    if not starts:
        return [line for line in lines if line][-5:]
    message = [lines[starts[-1]]]
    for line in lines[starts[-1] + 1 :]:
        if not line or STAMPED.match(line) or len(message) == 10:
            break
        message.append(line)
    return message


def die_with_parent() -> None:
    """Makes the kernel end this process when its parent ends, even if that was killed with -9 (Linux only)."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


@contextlib.contextmanager
def open_log(path: str) -> Iterator[TextIO]:
    """Context that gives the file to append to. What a full disk has no room for is lost: the command goes on."""
    log = open(path, "a", encoding="utf-8")
    try:
        yield log
    finally:
        with contextlib.suppress(OSError):
            log.close()


def write(log: TextIO, text: str) -> None:
    with contextlib.suppress(OSError):
        log.write(text)
        log.flush()


def run(command: list[str], log_path: str, epochs: int | None) -> int:
    """Runs the command to its end; returns its exit status, 128 + the signal's number if it was killed."""
    die_with_parent()
    view = TrainingView(epochs) if epochs else None
    on_terminal = sys.stdout.isatty()
    last_lines = collections.deque(maxlen=10_000)
    with open_log(log_path) as log:
        write(log, "$ " + " ".join(command) + "\n")
        child = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            preexec_fn=die_with_parent,
        )
        signal.signal(signal.SIGTERM, lambda *_: child.terminate())
        # Ctrl-C reaches the command as well; this process stays to report how it ended.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        drawn = ""
        if on_terminal and view:
            print("  starting ...", end="", flush=True)
        for line in child.stdout:
            write(log, line)
            last_lines.append(line)
            finished = view.feed(line) if view else None
            if on_terminal and view and (finished or view.bar != drawn):
                drawn = view.bar
                width = shutil.get_terminal_size().columns
                print("\r\x1b[K" + (finished + "\n" if finished else ""), end=drawn[: width - 1], flush=True)
            elif finished:
                print(finished, flush=True)
        status = child.wait()
    if on_terminal and view:
        print("\r\x1b[K", end="", flush=True)
    if status == 0:
        return 0
    if status < 0:
        reason = [f"killed by signal {-status}" + (" (out of memory?)" if status == -signal.SIGKILL else "")]
    else:
        reason = last_error(last_lines)
    print(f"error: {command_name(command)} failed:", file=sys.stderr)
    print("\n".join("  " + line for line in reason), file=sys.stderr)
    print(f"  full log: {log_path}", file=sys.stderr)
    return status if status > 0 else 128 - status


def command_name(command: list[str]) -> str:
    """The program that was meant: the script if an interpreter runs one."""
    names = [word.rsplit("/", 1)[-1] for word in command[:2]]
    return names[1] if names[0].startswith("python") and len(names) > 1 else names[0]


def main() -> int:
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1].removeprefix("usage: "))
    parser.add_argument("--log", required=True)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()
    try:
        return run(args.command, args.log, args.epochs)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
