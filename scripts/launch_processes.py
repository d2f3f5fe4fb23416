"""Trains with several processes on the CPUs of one machine: gloo carries the gradients.

usage: launch_processes.py N fairseq-train DATA [ARGUMENT ...]

fairseq's own launcher counts GPUs and starts nothing where there are none, so each process is started here with its
rank. The first process to fail ends the others, and its exit status is this program's.
"""

import os
import signal
import socket
import subprocess
import sys
import time

from show_progress import die_with_parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def rank_command(command: list[str], rank: int, count: int, port: int) -> list[str]:
    """The command of one process. Only rank 0 logs its progress; the others print warnings and errors."""
    return command + [
        *("--distributed-world-size", str(count), "--distributed-rank", str(rank), "--distributed-no-spawn"),
        *("--distributed-init-method", f"tcp://127.0.0.1:{port}"),
        *("--distributed-backend", "gloo", "--ddp-backend", "legacy_ddp"),
    ]


def launch(count: int, command: list[str]) -> int:
    """Runs `count` processes to their end; returns 0 only if all of them did well."""
    die_with_parent()
    port = free_port()
    environment = dict(os.environ)
    # Otherwise every process would start a thread for every core.
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    processes = [
        subprocess.Popen(rank_command(command, rank, count, port), env=environment, preexec_fn=die_with_parent)
        for rank in range(count)
    ]

    def end_all(*_) -> None:
        for process in processes:
            if process.poll() is None:
                process.terminate()

    signal.signal(signal.SIGTERM, end_all)
    failed = None
    while failed is None and any(process.poll() is None for process in processes):
        time.sleep(0.2)
        failed = next((rank for rank, process in enumerate(processes) if process.poll()), None)
    if failed is None:
        return 0
    # The others would wait for it for ever.
    end_all()
    for process in processes:
        process.wait()
    status = processes[failed].returncode
    how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
    print(f"error: rank {failed} of {count} processes {how}", file=sys.stderr)
    return status if status > 0 else 128 - status


if __name__ == "__main__":
    if len(sys.argv) < 3 or not sys.argv[1].isdigit() or int(sys.argv[1]) < 1:
        sys.exit(__doc__)
    sys.exit(launch(int(sys.argv[1]), sys.argv[2:]))
