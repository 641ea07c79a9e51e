"""A command on a terminal, at which somebody types."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def typing(cwd: Path, *words: str | Path, answers: list[str]) -> tuple[int, str]:
    """`gateway WORDS` on a terminal, each answer typed when it is asked for (`…: `): exit code, and what is said."""
    argv = [sys.executable, "-m", "gateway", *map(str, words)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    keyboard, screen = os.openpty()
    told = b""
    try:
        with subprocess.Popen(
            argv,
            cwd=cwd,
            env=env,
            stdin=screen,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # without a terminal of its own: it asks on standard input
        ) as process:
            assert process.stdout is not None
            for answer in answers:
                while not told.endswith(b": "):
                    told += process.stdout.read(1) or b"ended early: "
                os.write(keyboard, answer.encode())
                told += b"\n"
            told += process.stdout.read()
        return process.returncode, told.decode()
    finally:
        os.close(keyboard)
        os.close(screen)
