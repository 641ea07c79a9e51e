"""pydicom without the packages that it looks for as it is imported.

pydicom imports numpy and each codec that is installed, 33 MiB a process, to know of them; and what it would download
sample files with, 5 MiB. The gateway reads no pixels
through pydicom: what works on pixels (`gateway.transform.pixels`) imports the codec that it needs, when it needs it.
Processes of the `gateway` command keep them from pydicom; a program that imports the package gets pydicom as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_CODECS = frozenset({"PIL", "gdcm", "jpeg_ls", "libjpeg", "numpy", "openjpeg", "pylibjpeg", "rle"})
_DOWNLOADING = frozenset({"requests", "tqdm"})


class _Hidden(MetaPathFinder):
    """Finds nothing, and hides the codecs while pydicom is being imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """As `MetaPathFinder.find_spec`. :raises ModuleNotFoundError: it is hidden now."""
        if fullname.partition(".")[0] in _CODECS | _DOWNLOADING and _is_being_imported("pydicom"):
            raise ModuleNotFoundError(f"{fullname} is not for pydicom", name=fullname)
        return None


def hide_codecs() -> None:
    """Hide them, for as long as this process lives; before pydicom is imported."""
    sys.meta_path.insert(0, _Hidden())


def _is_being_imported(name: str) -> bool:
    module = sys.modules.get(name)
    return module is not None and bool(getattr(module.__spec__, "_initializing", False))
