// Module numbers that do not depend on the folder of the build: the same source gives the same bytes anywhere.
module.exports = { optimization: { moduleIds: 'natural', chunkIds: 'natural' } };
