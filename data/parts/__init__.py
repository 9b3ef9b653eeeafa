"""What several readers share. Modules here are not readers: a reader is a module directly in ``recon.data``."""
