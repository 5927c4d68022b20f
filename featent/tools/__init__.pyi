"What every room needs: files and locks, digests, words."

from . import files as files
from . import release as release
from . import digests as digests
from . import words as words
