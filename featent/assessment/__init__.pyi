"The verb, its result, what survives a kill, the pictures of a result."

from . import repeatability as repeatability
from . import preflight as preflight
from . import store as store
from . import shards as shards
from . import stored as stored
from . import options as options
from . import plan as plan
from . import record as record
from . import streaming as streaming
from . import tables as tables
from . import result as result
from . import saving as saving
from . import loading as loading
from . import filling as filling
from . import assessing as assessing
from . import depth as depth
from . import evidence as evidence
from . import answers as answers
from . import ranking as ranking
from . import plots as plots
