"""Making model files from others."""
