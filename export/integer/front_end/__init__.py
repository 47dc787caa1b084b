"""Integer log-mel front end: from 16-bit samples to the int8 map of a model."""
