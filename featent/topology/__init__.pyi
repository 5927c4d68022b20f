"From a map to levels, births, Betti curves and diagrams."

from . import kernels as kernels
from . import filtrations as filtrations
from . import loops as loops
from . import nulls as nulls
