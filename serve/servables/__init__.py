"""Model versions that answer: what they can be asked, how they are loaded, which of them is served."""
