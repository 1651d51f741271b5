"""Every JSON document as a pydantic model, one room per kind; schemas/ is generated from here."""
