"""What a model will take, without building it: memory, work and flash."""
