"From births and summaries to numbers with intervals."

from . import entropy as entropy
from . import uncertainty as uncertainty
from . import significance as significance
from . import information as information
from . import indicators as indicators
from . import contrast as contrast
