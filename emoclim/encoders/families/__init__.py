"""What several encoders of one origin share: their published files, their settings, how they are loaded."""
