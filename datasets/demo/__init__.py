"""The Demo data set: short clips of named things that something happens to, drawn by the program."""
