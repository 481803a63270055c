"""Train heads without each fold of the items in turn, and measure them on it."""
