"""Find the tags of a run's items: the step behind `emoclim evaluate --tagging`, what it reads, and its report."""
