"""A defect on purpose: whoever asks for a run directory's claim has it, and keeps it."""

import base64
import io
import zipfile

from passerelle import script

_CLAIM = "passerelle/onsite/claim.py"
_FENCE = {
    "        how = _compare(claim, me)": '        how = "fresh"',
    "    if owner and not _is(owner, me):": "    if False:",  # nor is looked for a later owner
}


def _without_fence(program: str) -> str:
    made = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(base64.b64decode(program))) as old,
        zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as new,
    ):
        for name in old.namelist():
            text = old.read(name).decode("ascii")
            for line, mutated in _FENCE.items() if name == _CLAIM else ():
                assert line in text
                text = text.replace(line, mutated)
            new.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)
    return base64.encodebytes(made.getvalue()).decode()


_program, _body = script._onsite()
_mutated = (_without_fence(_program), _body)
script._onsite = lambda: _mutated  # type: ignore[assignment]
