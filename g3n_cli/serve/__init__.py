"""A model of this process as a server: HTTP in front, one queue, one thread that computes."""
