"The verb, its result, what survives a kill, the pictures of a result."

from . import preflight as preflight
from . import store as store
from . import assessing as assessing
from . import evidence as evidence
from . import plots as plots
