"""Files of any kind as what a model reads: text, pictures, sound."""
