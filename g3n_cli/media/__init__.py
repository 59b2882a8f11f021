"""Files of other senses: from their bytes to arrays or text."""
