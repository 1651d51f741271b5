"""Every phrase that `verify` renders again: one module per document and template version, frozen once released."""
