"""Train an encoder along with its heads: crops of files, what is added to them, several processes, one optimiser."""
