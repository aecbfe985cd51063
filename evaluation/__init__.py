"""Is the map right? Measures, the loop over a data set, and their tables."""
