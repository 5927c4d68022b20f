"What every room needs: files and locks, digests, words."

from . import digests as digests, files as files, release as release, words as words
