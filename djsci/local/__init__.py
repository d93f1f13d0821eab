"""A file of one's own machine, run by `djsci run`: no server, no database, no Django."""
