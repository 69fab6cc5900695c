"""Dataset formats: how composed samples are written for trainers."""
