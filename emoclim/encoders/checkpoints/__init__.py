"""Files of parameters: find, download, verify and read them without running anything in them."""
