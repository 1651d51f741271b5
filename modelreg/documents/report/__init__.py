"""The reports of an evaluation and of a data check, from records alone: Markdown, pictures and self-contained pages.

matplotlib and the Markdown reader are loaded when the first picture or page is made.
"""
