"""TensorFlow's messages on the wire: protobuf classes, dtypes by number, tensors; and what bytes are that are none of them."""
