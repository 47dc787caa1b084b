"""Teachers: what turns a signal into arousal, dominance and valence."""
