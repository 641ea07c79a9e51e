"""pydicom without what it loads as it is imported and the gateway does not need, or not yet.

pydicom imports numpy and each codec that is installed, 33 MiB a process, to know of them; and what it would download
sample files with, 5 MiB. The gateway reads no pixels through pydicom: what works on pixels (`gateway.transform.pixels`)
imports the codec that it needs, when it needs it. Its dictionary of private attributes, 2 MiB, is read when the first
is looked up. Processes of the `gateway` command do so; a program that imports the package gets pydicom as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec
from types import ModuleType

_CODECS = frozenset({"PIL", "gdcm", "jpeg_ls", "libjpeg", "numpy", "openjpeg", "pylibjpeg", "rle"})
_DOWNLOADING = frozenset({"requests", "tqdm"})


_PRIVATE = "pydicom._private_dict"
_Entries = dict[str, tuple[str, str, str, str]]


class _PrivateDictionaries(dict[str, _Entries]):
    """Private creator → its attributes, read when the first creator is missing here."""

    def __init__(self, found: ModuleSpec) -> None:
        super().__init__()
        self._found: ModuleSpec | None = found

    def __missing__(self, creator: str) -> _Entries:
        if self._found is not None:
            found, self._found = self._found, None
            module = module_from_spec(found)
            assert found.loader is not None  # noqa: S101 - it is a file
            found.loader.exec_module(module)
            for each, entries in module.private_dictionaries.items():
                self[each] = {**entries, **self.get(each, {})}
        if creator in self:
            return self[creator]
        raise KeyError(creator)


class _Later(Loader):
    """Loads the module of the private dictionary without reading it."""

    def __init__(self, found: ModuleSpec) -> None:
        self._found = found

    def exec_module(self, module: ModuleType) -> None:
        """As `Loader.exec_module`."""
        vars(module)["private_dictionaries"] = _PrivateDictionaries(self._found)


class _Hidden(MetaPathFinder):
    """Hides the codecs while pydicom is being imported, and finds its private dictionary without reading it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """As `MetaPathFinder.find_spec`. :raises ModuleNotFoundError: it is hidden now."""
        if fullname.partition(".")[0] in _CODECS | _DOWNLOADING and _is_being_imported("pydicom"):
            raise ModuleNotFoundError(f"{fullname} is not for pydicom", name=fullname)
        if fullname == _PRIVATE:
            found = PathFinder.find_spec(fullname, path)
            return found and ModuleSpec(fullname, _Later(found), origin=found.origin)
        return None


def hide_codecs() -> None:
    """Hide them, for as long as this process lives; before pydicom is imported."""
    sys.meta_path.insert(0, _Hidden())


def _is_being_imported(name: str) -> bool:
    module = sys.modules.get(name)
    return module is not None and bool(getattr(module.__spec__, "_initializing", False))
