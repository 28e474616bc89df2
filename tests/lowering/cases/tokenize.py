"""Ops of TensorFlow Text, which is not installed where goldens are recorded."""

CASES = []

ELSEWHERE = {"WordpieceTokenizeWithOffsets": "test_tokenize.py: by hand"}
