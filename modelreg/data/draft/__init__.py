"""Draft the configuration of a folder of recordings: what is there, what it means, and the YAML with the reasons."""
