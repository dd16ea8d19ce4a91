"""How a run moves: the flow of one run, its two drivers, the handlers of effects, the façade."""
