"""Images and sound as positions of a prompt."""
