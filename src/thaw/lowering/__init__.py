"""The op table: what each TensorFlow op computes, in `keras.ops`, and how a graph runs by it."""
