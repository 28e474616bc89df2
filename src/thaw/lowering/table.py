"""The op table: importing this module registers every family. One line a family, and nothing else.

A family is a file of lowerings that belong together; which ops there are is listed in docs/ops.md.
"""

from thaw.lowering import activation as activation
from thaw.lowering import arrange as arrange
from thaw.lowering import array as array
from thaw.lowering import audio as audio
from thaw.lowering import choose as choose
from thaw.lowering import color as color
from thaw.lowering import control_flow as control_flow
from thaw.lowering import conv as conv
from thaw.lowering import counting as counting
from thaw.lowering import cross as cross
from thaw.lowering import ctc as ctc
from thaw.lowering import detection as detection
from thaw.lowering import diagonal as diagonal
from thaw.lowering import dtypes as dtypes
from thaw.lowering import hashing as hashing
from thaw.lowering import images as images
from thaw.lowering import linalg as linalg
from thaw.lowering import logic as logic
from thaw.lowering import lookup as lookup
from thaw.lowering import loss as loss
from thaw.lowering import math as math
from thaw.lowering import matmul as matmul
from thaw.lowering import normalization as normalization
from thaw.lowering import parse as parse
from thaw.lowering import pool as pool
from thaw.lowering import quantization as quantization
from thaw.lowering import ragged as ragged
from thaw.lowering import random as random
from thaw.lowering import recurrent as recurrent
from thaw.lowering import reductions as reductions
from thaw.lowering import regex as regex
from thaw.lowering import resize as resize
from thaw.lowering import sample as sample
from thaw.lowering import segment_trim as segment_trim
from thaw.lowering import segments as segments
from thaw.lowering import sentence_pieces as sentence_pieces
from thaw.lowering import sets as sets
from thaw.lowering import slicing as slicing
from thaw.lowering import space as space
from thaw.lowering import sparse as sparse
from thaw.lowering import special as special
from thaw.lowering import spectral as spectral
from thaw.lowering import summaries as summaries
from thaw.lowering import tensor_array as tensor_array
from thaw.lowering import tensor_list as tensor_list
from thaw.lowering import text as text
from thaw.lowering import tokenize as tokenize
from thaw.lowering import unicode as unicode
from thaw.lowering import variables as variables
from thaw.lowering import xla as xla
