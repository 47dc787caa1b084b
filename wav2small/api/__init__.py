"""The main job in Python; ``import wav2small`` offers what is here."""
