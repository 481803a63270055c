"""Make the tables of papers anew: what is asked for, what of it is there, the runner, and what was made."""
