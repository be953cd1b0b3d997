"""The training stage: Horovod ranks on Spark train a Keras model on a table version; the driver publishes it."""
