"""Commands: parse, call one workflow or operation, show."""
