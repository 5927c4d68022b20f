"What can be typed."

from . import vocabulary as vocabulary
from . import experiments as experiments
from . import runs as runs
from . import plans as plans
from . import processes as processes
from . import verdicts as verdicts
from . import reports as reports
from . import verdicts_of_use as verdicts_of_use
from . import sweeps as sweeps
from . import claims as claims
from . import engines as engines
from . import end_to_end as end_to_end
from . import many_classes as many_classes
from . import photographs as photographs
from . import bench as bench
from . import health as health
from . import messages as messages
from . import atlas_options as atlas_options
from . import arguments as arguments
from . import actions as actions
from . import cli as cli
from . import magics as magics
