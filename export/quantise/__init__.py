"""From a float model to an int8 one."""
