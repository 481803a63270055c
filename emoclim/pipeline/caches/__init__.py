"""What the commands of `emoclim cache` do."""
