"""Train heads, and encoders with their heads: the steps of two commands, their sweeps, studies and files."""
