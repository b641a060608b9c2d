"""passerelle.dev/v1alpha1: what a user may write and read. The models are the source of the CRDs; one file a kind.

A field enters with the code that honours it. Every string and list is bounded. Defaults, the site's and our own, are
never written into spec: it stays what the user wrote.
"""

GROUP = "passerelle.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
