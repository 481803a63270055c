"""Bodies of convolutional and transformer networks, and their front ends."""
