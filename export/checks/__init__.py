"""Whether two executions of a model agree."""
