"""Search what was embedded: rank by likeness, mix scores, and say what they are made of; no features, no heads."""
