"""The preprocessing half of the model: measured on the train split, built as Keras layers."""
