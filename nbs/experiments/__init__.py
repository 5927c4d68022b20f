"The experiments: notebooks with parameters, run by `featent run`."
