"""Items, those of large tables as columns, and what is known of files from before."""
