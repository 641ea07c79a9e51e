"""What a process of the gateway holds while it works on no pixels."""

from __future__ import annotations

import subprocess
import sys

from tests.harness.tools import require

SCRIPT = """
import sys
from gateway.cli import main
sys.argv = ["gateway", "rules", "test", "--help"]
try:
    main()
except SystemExit:
    pass
import gateway.app.worker, gateway.app.console, gateway.app.host
looked_for = ("pydicom", "numpy", "gdcm", "PIL", "openjpeg", "jpeg_ls", "cryptography", "requests")
found = [name for name in looked_for if name in sys.modules]
import numpy
print(found, numpy.arange(3).sum())
"""


def test_pydicom_comes_without_codecs_and_they_can_be_had_later() -> None:
    require("numpy")
    ran = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.splitlines()[-1] == "['pydicom'] 3"
