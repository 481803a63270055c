"""Train encoders, with heads or without: crops, the kinds of run, and what they leave."""
