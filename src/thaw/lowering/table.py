"""The op table: importing this module registers every family. One line a family, and nothing else.

A family is a file of lowerings that belong together; which ops there are is listed in docs/ops.md.
"""

from thaw.lowering import math as math
