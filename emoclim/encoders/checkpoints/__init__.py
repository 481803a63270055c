"""Files of parameters: where they are published, how they come here, and how they are read without running them."""
