"""Run every step on material of which each piece is called what it is: the step behind `emoclim demo`."""
