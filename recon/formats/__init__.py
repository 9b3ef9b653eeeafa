"""File codecs without any knowledge of the engine: bytes in, numpy arrays out.

``recon.data`` and ``recon.export`` both build on these; nothing here imports torch or another part of Recon except
``recon.errors``.
"""
