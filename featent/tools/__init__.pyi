"What every room needs: files and locks, digests, words."

from . import words as words
from . import digests as digests
from . import release as release
from . import files as files
from . import locks as locks
from . import places as places
from . import ending as ending
from . import progress as progress
from . import side_by_side as side_by_side
from . import stacking as stacking
