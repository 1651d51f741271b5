"""Documents made from records: model card, bill of materials, reports."""
