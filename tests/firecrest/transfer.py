"""The transfer jobs of a FirecREST: what each does, mistakes included, as a script for sbatch.

The real ones are bash and curl; the sandbox's nodes have Python. What the one that brings a file can't write it passes
over, and ends well; the one that fetches a file ends well without a part that it could not send. Both look whether they
are cancelled as little as theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

INGRESS, OUTGRESS = "IngressFileTransfer", "OutgressFileTransfer"

_COMMON = '''
import os, ssl, sys, time, urllib.error, urllib.request
TRUST = ssl.create_default_context(cadata="""{authority}""")
def send(method, url, data=None, headers={{}}):
    asked = urllib.request.Request(url, data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(asked, context=TRUST, timeout=60) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, {{}}, b""
'''

_IN = """
target_file = "{path}"
if os.path.isdir(target_file):
    sys.exit(3)
for _ in range({looks}):
    if send("HEAD", {head!r})[0] == 200:
        break
    time.sleep({pause})
else:
    sys.exit(0)
if os.path.exists(target_file):
    os.remove(target_file)
room, begin, part = {room}, 0, 1
while True:
    status, headers, data = send("GET", {get!r}, headers={{"Range": "bytes=%d-%d" % (begin, begin + {piece} - 1)}})
    if status not in (200, 206):
        print("Download failed: part %d" % part, file=sys.stderr)
        sys.exit(1)
    piece_file = "%s.%d" % (target_file, part)
    try:
        with open(piece_file, "wb") as file:
            file.write(data)
        with open(target_file, "ab") as file:
            file.write(data[:max(room - begin, 0)] if room >= 0 else data)
        if 0 <= room < begin + len(data):
            print("cat: write error: Disk quota exceeded", file=sys.stderr)
        os.remove(piece_file)
    except OSError as error:
        print("%s: %s" % (target_file, error.strerror), file=sys.stderr)
    begin += len(data)
    part += 1
    if begin >= int(headers["Content-Range"].rpartition("/")[2]):
        break
    time.sleep({slow})
print("Received %d bytes" % begin)
"""

_OUT = """
input_file={path}
done = []
with open(input_file, "rb") as file:
    for number, url in enumerate({urls!r}, 1):
        data = file.read({piece})
        if number in {lost!r}:
            print("upload_failed_part_%d" % number, file=sys.stderr)
            continue
        status, headers, _ = send("PUT", url, data)
        found = {{name.lower(): value for name, value in headers.items()}}
        done.append("<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>" % (number, found["etag"]))
body = "<CompleteMultipartUpload>%s</CompleteMultipartUpload>" % "".join(done)
sys.exit(0 if send("POST", {complete!r}, body.encode())[0] == 200 else 70)
"""


def ingress(
    *,
    directives: Sequence[str],
    authority: str,
    path: str,
    head: str,
    get: str,
    piece: int,
    looks: int,
    pause: float,
    room: int,
    slow: float,
) -> str:
    body = _COMMON + _IN
    lines = ["#!/usr/bin/python3", *directives]
    told = {"head": head, "get": get, "piece": piece, "looks": looks, "pause": pause, "room": room, "slow": slow}
    return "\n".join(lines) + body.format(authority=authority, path=escape(path), **told)


def outgress(
    *,
    directives: Sequence[str],
    authority: str,
    path: str,
    urls: Sequence[str],
    complete: str,
    piece: int,
    lost: Sequence[int],
) -> str:
    body = _COMMON + _OUT
    lines = ["#!/usr/bin/python3", *directives]
    told = {"urls": list(urls), "complete": complete, "piece": piece, "lost": list(lost)}
    return "\n".join(lines) + body.format(authority=authority, path=repr(escape(path)), **told)
