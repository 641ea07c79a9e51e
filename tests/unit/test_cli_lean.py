"""What a process of the gateway holds while it works on no pixels, and where it is no console."""

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

WEB = """
import sys
import gateway.app.receiver, gateway.app.worker, gateway.app.forwarder, gateway.app.host, gateway.cli.operate
looked_for = ("argon2", "authlib", "fastapi", "httpx", "jinja2", "pydantic", "starlette", "uvicorn")
print([name for name in looked_for if name in sys.modules])
import gateway.app.console
print([name for name in looked_for if name in sys.modules])
"""


def test_pydicom_comes_without_codecs_and_they_can_be_had_later() -> None:
    require("numpy")
    ran = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=110, check=True)
    assert ran.stdout.splitlines()[-1] == "['pydicom'] 3"


def test_only_the_console_holds_what_serves_pages_and_single_sign_on_only_where_it_is_configured() -> None:
    ran = subprocess.run([sys.executable, "-c", WEB], capture_output=True, text=True, timeout=110, check=True)
    others, console = ran.stdout.splitlines()
    assert others == "[]"
    assert "fastapi" in console and "authlib" not in console and "httpx" not in console
