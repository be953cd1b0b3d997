"""Model versions: their manifest, their files, the store that holds them."""
