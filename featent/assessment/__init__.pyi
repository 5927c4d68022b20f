"The verb, its result, what survives a kill, the pictures of a result."

from . import (
    assessing as assessing,
    evidence as evidence,
    plots as plots,
    preflight as preflight,
    store as store,
)
