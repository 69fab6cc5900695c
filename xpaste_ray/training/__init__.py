"""What a detector is trained on: which image comes next, how it is varied, and what is known of it."""
