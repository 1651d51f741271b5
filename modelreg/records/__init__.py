"""Every JSON document as a pydantic model, one module per kind; schemas/ is generated from here."""
