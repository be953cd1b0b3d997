"""Preprocessing: statistics of the train split, and the Keras layers that encode inputs with them."""
