"""Model versions: their signatures, how they are loaded, and which of them are served."""
