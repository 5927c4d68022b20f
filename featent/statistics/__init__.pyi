"From births and summaries to numbers with intervals."

from . import entropy as entropy
from . import counting as counting
from . import estimators as estimators
from . import scores as scores
from . import resampling as resampling
from . import uncertainty as uncertainty
from . import resolution as resolution
from . import swapping as swapping
from . import multiple_testing as multiple_testing
from . import significance as significance
from . import twins as twins
from . import information as information
from . import indicators as indicators
from . import contrast as contrast
from . import shares as shares
from . import redundancy as redundancy
