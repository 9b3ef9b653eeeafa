"""One file per method: the file's name is the method's name. PRESETS maps fast | balanced | quality to Systems."""
