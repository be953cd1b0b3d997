"""The functions of a SavedModel, loaded by TensorFlow: by its object graph, or by its graph and signatures alone."""
