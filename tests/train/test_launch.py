"""Ctrl-C ends a training run in every place where it may fall."""

import subprocess
import sys

DROPPED = """
import os, signal, time
from train.launch import _interrupt

signal.signal(signal.SIGINT, lambda *_: _interrupt("runs/mine", os.getpid()))

class Collected:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)  # the handler's exception is raised here, and dropped

Collected()
time.sleep(60)
"""


def test_an_interrupt_that_python_drops_ends_the_run_all_the_same():
    done = subprocess.run([sys.executable, "-c", DROPPED], capture_output=True, text=True, timeout=50)

    assert "Exception ignored" in done.stderr
    assert "the same command goes on from runs/mine" in done.stderr
    assert done.returncode == 130
