"""Model versions: their manifest, their files, and the store of all versions."""
