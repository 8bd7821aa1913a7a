"""Where evidence lies: content-addressed blobs, the append-only log, the archive."""
