"""Reports in Markdown and HTML with their plots, rendered from records alone.

matplotlib and the Markdown reader are imported when the first plot or page is made.
"""
