"""The training stage: Horovod ranks on Spark fit a Keras model to a table version and publish it."""
