"""The features of a model: their description, and their values as a model takes them."""
