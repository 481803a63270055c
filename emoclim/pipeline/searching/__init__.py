"""Answer files with the items of a library that are nearest to them: the step behind `emoclim search`."""
