"What every room needs: files and locks, digests, words."

from . import files as files
from . import release as release
