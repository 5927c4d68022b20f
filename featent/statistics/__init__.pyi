"From births and summaries to numbers with intervals."

from . import (
    contrast as contrast,
    entropy as entropy,
    indicators as indicators,
    information as information,
    significance as significance,
    uncertainty as uncertainty,
)
