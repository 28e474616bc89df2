"""Fine-tuning as a job: data from a folder or a table, a head on the module, plain `fit`, and what is left behind.

Never a trainer of its own: Keras' `fit` with callbacks.
"""
