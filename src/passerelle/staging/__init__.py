"""Data to the site before a run is submitted, and what it made away from there: each a step that may be taken again.

What is at the site, and what is in the object store, tells how far a step has come; no file of ours and no memory is
believed against them. A file appears under its name when it is whole and compared, never before; through a gateway that
renames nothing (Traits.renames) it grows under it, beside a note that says so, and its receipt tells that it is whole.
"""
