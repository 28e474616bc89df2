"""The graph as plain data, and the passes that rewrite it. Knows no file, no backend and no Keras."""
