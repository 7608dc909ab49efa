import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_FILES = 41
"""Six read the photo file, six accept and read the request, six find the lesion and check the gate,
eight choose the model, limit the caller and set headers, three choose the language of messages and the form
of errors; the others classify the photo."""


@pytest.mark.slow
def test_a_lesion_request_executes_few_files():
    command = [sys.executable, "-m", "scripts.count_request_files"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    *files, _ = (line for line in done.stdout.splitlines() if line.endswith((".py", " files")))
    assert "serve/lesion/api.py" in files and "models/lesion/network.py" in files
    assert len(files) <= MAX_FILES, files
