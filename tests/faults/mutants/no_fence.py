"""A defect on purpose: whoever asks for a run directory's claim has it, and keeps it."""

import base64
import io
import json
import zipfile

from passerelle import script
from passerelle.onsite.__main__ import TEXTS

_CLAIM = "passerelle/onsite/claim.py"
_FENCE = {
    "        how = _compare(claim, me)": '        how = "fresh"',
    "    if owner and not _is(owner, me):": "    if False:",  # nor is looked for a later owner
}


def _without_fence(program: str) -> str:
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(program))) as old:
        main, files = old.read("__main__.py").decode(), json.loads(old.read(TEXTS))
    for line, mutated in _FENCE.items():
        assert line in files[_CLAIM]
        files[_CLAIM] = files[_CLAIM].replace(line, mutated)
    return base64.encodebytes(script.archive(main, files)).decode()


_program, _body = script._onsite()
_mutated = (_without_fence(_program), _body)
script._onsite = lambda: _mutated  # type: ignore[assignment]
