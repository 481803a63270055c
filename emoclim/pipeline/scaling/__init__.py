"""Work of a command that is shared out to the workers of an engine, and joined again to what one process makes."""
