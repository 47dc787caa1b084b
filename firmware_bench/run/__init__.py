"""Build a model's C99 for a core, run it in an emulator and measure it."""
