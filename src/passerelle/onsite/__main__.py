"""Runs one module of this package: `python3 LIB claim ...`, where LIB is the archive that this file was written into.

Python opens an archive anew for each module of it. A job may have thousands of ranks, which begin at once and have LIB
from a parallel file system: so all texts are one member of it, read here, and modules are imported from memory.
"""

import json
import runpy
import sys
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import CodeType, ModuleType
from typing import Any, Dict, Optional

TEXTS = "texts.json"
"""The member that holds the files of this program, by name."""


class Memory:
    """Finds and loads modules whose texts are in memory; to tracebacks they lie in the archive, as they do."""

    def __init__(self, place: str, texts: Dict[str, str]) -> None:
        self._place = place
        self._texts = texts

    def _file(self, name: str) -> Optional[str]:
        path = name.replace(".", "/")
        return next((each for each in (path + ".py", path + "/__init__.py") if each in self._texts), None)

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> Optional[ModuleSpec]:
        file = self._file(name)
        if file is None:
            return None
        where = "%s/%s" % (self._place, file)
        found = spec_from_loader(name, self, origin=where, is_package=file.endswith("/__init__.py"))  # type: ignore[arg-type]
        if found:
            found.has_location = True
        return found

    def create_module(self, _spec: ModuleSpec) -> None:
        """None: a module as others are."""

    def exec_module(self, module: ModuleType) -> None:
        exec(self.get_code(module.__name__), module.__dict__)  # noqa: S102 -- that is how a module is loaded

    def get_code(self, name: str) -> CodeType:
        return compile(self.get_source(name), "%s/%s" % (self._place, self._file(name)), "exec", dont_inherit=True)

    def get_source(self, name: str) -> str:
        """For whoever shows a line of a traceback, too."""
        file = self._file(name)
        if file is None:
            raise ImportError("%s holds no %s" % (self._place, name))
        return self._texts[file]


if __name__ == "__main__":
    loader = __spec__.loader if __spec__ else None
    archive = getattr(loader, "archive", None)  # none where these files lie in a folder
    if archive:
        texts = json.loads(loader.get_data(TEXTS).decode("ascii"))  # type: ignore[union-attr]
        sys.meta_path.insert(0, Memory(archive, texts))
    runpy.run_module("passerelle.onsite." + sys.argv.pop(1), run_name="__main__", alter_sys=True)
