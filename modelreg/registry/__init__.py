"""Where versions and runs live: their folders and file names, references, aliases."""
