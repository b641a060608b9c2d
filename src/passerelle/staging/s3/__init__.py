"""An object store that speaks S3: AWS's own, or one of those that sites and clouds run (Ceph, MinIO, and others)."""
