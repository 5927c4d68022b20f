"From a map to levels, births, Betti curves and diagrams."

from . import filtrations as filtrations, kernels as kernels, nulls as nulls
