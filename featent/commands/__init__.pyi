"What can be typed."

from . import vocabulary as vocabulary
from . import runs as runs
from . import claims as claims
from . import bench as bench
from . import health as health
from . import cli as cli
from . import magics as magics
