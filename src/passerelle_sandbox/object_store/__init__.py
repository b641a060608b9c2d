"""A real object store that speaks S3: versitygw, with a folder of this machine behind it."""
